// What Python sends about maps, and what colours they have. Nothing here touches the page.
// A query is a patch (its index in raster order) or the name of a token.

/**
 * A map of the patches, in whole steps from `least` to `largest`.
 * @typedef {{steps: Uint16Array, least: number, largest: number, prefix: Float32Array}} PatchMap
 */

/**
 * @typedef {number | string} Query
 * @typedef {{look: string, edges: string, scale: string, clip: string}} Look
 * @typedef {[number, number]} Pair
 * @typedef {object} Sheet
 * @property {string} kind
 * @property {string} lead
 * @property {string} why
 * @property {string} link of explorers that follow each other, with one scale; empty of one alone
 * @property {string} unit
 * @property {Pair} grid
 * @property {string[]} prefix
 * @property {string[]} tokens
 * @property {string[]} columns
 * @property {number} layers
 * @property {string} layerName
 * @property {Pair} opened
 * @property {Query | null} query
 * @property {number[]} outlined patches of the layer that is open
 * @property {Query[]} queries
 * @property {boolean} pins
 * @property {number} stamp
 * @property {number} steps
 * @property {Record<string, Pair>} limits of a scale that all maps share; empty where they have none
 * @property {boolean} fromZero
 * @property {boolean} coloured
 * @property {Record<keyof Look, string[]>} choices
 * @property {Look} look
 * @property {string} picture
 * @property {Pair} size
 * @property {[number, number, number, number]} seen
 * @property {number} heat how much of the photograph the largest value hides
 * @property {number} veil how dark the spotlight leaves the smallest
 * @property {number} tint how much of the photograph the colours of patches hide
 * @property {number} grey what the colours lie over in their bar, from black to white
 * @property {[number, number, number]} greyWeights of red, green and blue in the grey of a photograph
 * @property {number} leastShare of a map's range that a clip must leave
 * @property {string} accent
 * @property {string} ink
 * @property {string} paper
 * @property {PatchMap[]} maps
 * @property {Map<Query, PatchMap>} rows
 * @property {Uint8Array} colours
 * @property {Uint8Array} ramp
 * @property {Uint8Array<ArrayBuffer>} webp
 */

/** The ends of a map's colours, and whether values lie beyond the upper one.
 * @typedef {{low: number, high: number, above: boolean}} Ends */

/**
 * Reads what `pack` in explorer.py writes.
 * @param {Uint8Array} bytes
 * @returns {Sheet}
 */
export function unpack(bytes) {
  // A copy: the bytes start anywhere in their message, numbers only at multiples of their size.
  const { buffer } = bytes.slice();
  const length = new DataView(buffer).getUint32(0, true);
  const sheet = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const floats = (/** @type {number} */ count) => {
    const part = new Float32Array(buffer, offset, count);
    offset += part.byteLength;
    return part;
  };
  const keys = sheet.prefix.length;
  const patches = sheet.grid[0] * sheet.grid[1];
  const heads = [sheet.layers * sheet.columns.length, sheet.queries.length]
    .filter((count) => count > 0)
    .map((count) => ({ count, least: floats(count), largest: floats(count), prefix: floats(count * keys) }));
  const [maps, rows = []] = heads.map(({ count, least, largest, prefix }) =>
    Array.from({ length: count }, (_, index) => {
      const steps = new Uint16Array(buffer, offset, patches);
      offset += steps.byteLength;
      const masses = prefix.subarray(index * keys, (index + 1) * keys);
      return { steps, least: least[index], largest: largest[index], prefix: masses };
    }),
  );
  const taken = (/** @type {number} */ count) => {
    const part = new Uint8Array(buffer, offset, count);
    offset += count;
    return part;
  };
  return {
    ...sheet,
    maps,
    rows: new Map(sheet.queries.map((/** @type {Query} */ query, /** @type {number} */ index) => [query, rows[index]])),
    colours: taken(sheet.coloured ? 3 * sheet.layers * patches : 0),
    ramp: taken(3 * 256),
    webp: new Uint8Array(buffer, offset),
  };
}

/**
 * The value of one patch.
 * @param {PatchMap} map
 * @param {number} patch
 * @param {number} steps
 */
export function valueAt(map, patch, steps) {
  return map.least + (map.steps[patch] / steps) * (map.largest - map.least);
}

/**
 * The mean of some maps.
 * @param {PatchMap[]} maps
 * @param {number} steps
 * @returns {PatchMap}
 */
export function averaged(maps, steps) {
  const sums = new Float64Array(maps[0].steps.length);
  const prefix = new Float32Array(maps[0].prefix.length);
  for (const map of maps) {
    for (let patch = 0; patch < sums.length; patch++) sums[patch] += valueAt(map, patch, steps) / maps.length;
    for (const [key, mass] of map.prefix.entries()) prefix[key] += mass / maps.length;
  }
  const [least, largest] = [Math.min(...sums), Math.max(...sums)];
  const span = largest - least || 1;
  const parts = Uint16Array.from(sums, (sum) => Math.round(((sum - least) / span) * steps));
  return { steps: parts, least, largest, prefix };
}

/**
 * A percentile, between two values in proportion, as NumPy takes it.
 * @param {Uint16Array} values
 * @param {number} percent
 */
export function percentile(values, percent) {
  const sorted = values.slice().sort();
  const place = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/**
 * Where the colours of a map end: at its own clip, or where all maps share a scale.
 * @param {Sheet} sheet
 * @param {PatchMap} map
 * @param {Look} look
 * @returns {Ends}
 */
export function endsOf(sheet, map, look) {
  if (look.scale === "shared") {
    const [low, high] = sheet.limits[look.clip];
    return { low, high, above: map.largest > high };
  }
  const low = sheet.fromZero ? 0 : map.least;
  const clip = percentile(map.steps, Number(look.clip)) / sheet.steps;
  const high = map.least + clip * (map.largest - map.least);
  // A map with a few bright patches and nothing else would be all of one colour.
  return high - low > sheet.leastShare * (map.largest - low) ? { low, high, above: map.largest > high } : { low, high: map.largest, above: false };
}

/**
 * The colour of each patch, with its opacity, as bytes for a picture one pixel a patch.
 * @param {Sheet} sheet
 * @param {PatchMap} map
 * @param {Ends} ends
 * @param {string} look
 */
export function shade(sheet, map, ends, look) {
  const pixels = new Uint8ClampedArray(4 * map.steps.length);
  const span = ends.high - ends.low;
  const factor = span > 0 ? (map.largest - map.least) / sheet.steps / span : 0;
  const start = span > 0 ? (map.least - ends.low) / span : 0;
  for (let patch = 0; patch < map.steps.length; patch++) {
    const share = Math.min(Math.max(start + map.steps[patch] * factor, 0), 1);
    paint(pixels, 4 * patch, share, sheet, look);
  }
  return pixels;
}

/**
 * One colour of a look, for a share of the scale.
 * @param {Uint8ClampedArray} pixels
 * @param {number} at
 * @param {number} share
 * @param {{ramp: Uint8Array, heat: number, veil: number}} sheet
 * @param {string} look
 */
export function paint(pixels, at, share, { ramp, heat, veil }, look) {
  if (look === "spotlight") {
    pixels[at + 3] = 255 * veil * (1 - share);
    return;
  }
  const step = 3 * Math.min(Math.floor(share * 256), 255);
  pixels[at] = ramp[step];
  pixels[at + 1] = ramp[step + 1];
  pixels[at + 2] = ramp[step + 2];
  pixels[at + 3] = 255 * heat * share;
}

/**
 * Takes the colours from a photograph, which could be taken for values.
 * @param {Uint8ClampedArray} pixels
 * @param {[number, number, number]} weights
 */
export function turnGrey(pixels, [red, green, blue]) {
  for (let at = 0; at < pixels.length; at += 4) {
    pixels.fill(red * pixels[at] + green * pixels[at + 1] + blue * pixels[at + 2], at, at + 3);
  }
}

/**
 * The colours of patches in a layer, as bytes for a picture one pixel a patch.
 * @param {Sheet} sheet
 * @param {number} layer
 */
export function tinted(sheet, layer) {
  const count = sheet.grid[0] * sheet.grid[1];
  const pixels = new Uint8ClampedArray(4 * count).fill(255 * sheet.tint);
  for (let patch = 0; patch < count; patch++) {
    pixels.set(sheet.colours.subarray(3 * (layer * count + patch), 3 * (layer * count + patch) + 3), 4 * patch);
  }
  return pixels;
}

/** @param {Query | null} query @returns {query is number} */
export function isPatch(query) {
  return typeof query === "number";
}

/** @param {number} index @param {number} count */
export function clamp(index, count) {
  return Math.min(Math.max(index, 0), count - 1);
}

/**
 * So many maps side by side that they are large, and leave few holes in the last row.
 * @param {number} count
 * @param {{width: number, height: number, aspect: number, label: number, most: number}} room in px;
 *   `label` is above each map, and a map wider than `most` is no better
 */
export function bestColumns(count, { width, height, aspect, label, most }) {
  let [best, least] = [1, 0];
  for (let across = 1; across <= count; across++) {
    const down = Math.ceil(count / across);
    const side = Math.min(width / across, (height / down - label) * aspect, most);
    const filled = count / (across * down);
    const good = side * filled ** 2;
    if (good >= least) [best, least] = [across, good];
  }
  return best;
}

/**
 * What a map is called, as Python calls it: its layer and its head. Of several maps of another kind,
 * such as those of other methods, the name alone.
 * @param {{columns: string[], layers: number}} sheet
 * @param {number} layer
 * @param {number} column
 */
export function placeName({ columns, layers }, layer, column) {
  const name = columns[column];
  if (layers === 1 && name && !columns.some(isHead)) return name;
  const head = name === "" ? "" : isHead(name) ? ` H${name}` : ` ${name}`;
  return `L${layer}${head}`;
}

/** @param {string} column */
export function isHead(column) {
  return /^\d+$/.test(column);
}

// A minus is the sign that axes have, which is no hyphen.
/** @param {number} value @param {number} [digits] */
export function number(value, digits = 3) {
  return Number(value.toPrecision(digits)).toString().replaceAll("-", "\u2212");
}
