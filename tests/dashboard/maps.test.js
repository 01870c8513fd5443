// Does the browser read and colour maps as NumPy does? `test_javascript.py` writes what is compared.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import {
  averaged, bestColumns, clamp, endsOf, isPatch, number, paint, percentile, placeName, shade, tinted, turnGrey, unpack,
  valueAt,
} from "../../dashboard/vit_inspect_dashboard/components/maps.js";

const FOLDER = process.env.CASES ?? ".";
const CASES = JSON.parse(readFileSync(join(FOLDER, "cases.json"), "utf8"));

/** Bytes as a message brings them: not at the start of their buffer. */
function received(name, before = 3) {
  const bytes = readFileSync(join(FOLDER, name));
  const message = new Uint8Array(before + bytes.length);
  message.set(bytes, before);
  return message.subarray(before);
}

function near(found, expected, most, about) {
  assert.ok(Math.abs(found - expected) <= most, `${about}: ${found} is not ${expected} to ${most}`);
}

/** Each map with its true values: within half a step, besides what 32 bits lose. */
function sameValues(map, { values, prefix }, steps) {
  assert.equal(map.least, Math.min(...values));
  assert.equal(map.largest, Math.max(...values));
  assert.deepEqual([...map.prefix], prefix);
  assert.equal(map.steps.length, values.length);
  const most = (0.5 / steps) * (map.largest - map.least) + 1e-7 * Math.abs(map.largest);
  for (const [patch, value] of values.entries()) near(valueAt(map, patch, steps), value, most, `patch ${patch}`);
}

for (const [name, { maps, rows, mean, colours, ramp, header, ends, shown }] of Object.entries(CASES.sheets)) {
  test(`${name}: all that was packed is read`, () => {
    for (const before of [0, 1, 2, 3]) {
      const sheet = unpack(received(name, before));
      for (const [key, value] of Object.entries(header)) assert.deepEqual(sheet[key], value, key);
      assert.equal(sheet.maps.length, maps.length);
      for (const [index, map] of maps.entries()) sameValues(sheet.maps[index], map, sheet.steps);
      assert.deepEqual([...sheet.rows.keys()], header.queries);
      for (const [index, row] of rows.entries()) sameValues(sheet.rows.get(header.queries[index]), row, sheet.steps);
      assert.deepEqual([...sheet.colours], colours);
      assert.deepEqual([...sheet.ramp], ramp);
      assert.equal(Buffer.from(sheet.webp).subarray(8, 12).toString(), "WEBP");
    }
  });

  test(`${name}: rows are averaged`, { skip: rows.length === 0 }, () => {
    const sheet = unpack(received(name));
    const found = averaged([...sheet.rows.values()], sheet.steps);
    for (const [patch, value] of mean.values.entries()) {
      near(valueAt(found, patch, sheet.steps), value, 1 / sheet.steps, `patch ${patch}`);
    }
    for (const [key, mass] of mean.prefix.entries()) near(found.prefix[key], mass, 1e-6, `key ${key}`);
    // Of equal rows it is that row, also where that has one value alone.
    const flat = { steps: new Uint16Array(3), least: 0.5, largest: 0.5, prefix: new Float32Array([0.25]) };
    const same = averaged([flat, flat], sheet.steps);
    assert.deepEqual([...same.steps].map((_, patch) => valueAt(same, patch, sheet.steps)), [0.5, 0.5, 0.5]);
    assert.deepEqual([...same.prefix], [0.25]);
  });

  test(`${name}: scales end where NumPy says`, () => {
    const sheet = unpack(received(name));
    assert.ok(ends.length);
    for (const { map, scale, clip, low, high, above } of ends) {
      const found = endsOf(sheet, sheet.maps[map], { scale, clip });
      const most = (sheet.maps[map].largest - sheet.maps[map].least) / sheet.steps + 1e-6 * Math.abs(high);
      near(found.low, low, 1e-7, "low");
      near(found.high, high, most, `high of map ${map}, ${scale}, ${clip}`);
      assert.equal(found.above, above, `above of map ${map}, ${scale}, ${clip}`);
    }
  });

  test(`${name}: colours are those of the core`, () => {
    const sheet = unpack(received(name));
    for (const { map, look, low, high, pixels } of shown) {
      const found = shade(sheet, sheet.maps[map], { low, high, above: false }, look);
      assert.equal(found.length, pixels.length);
      // A value that lies between two colours may take either.
      for (const [index, part] of found.entries()) near(part, pixels[index], 4, `byte ${index} of map ${map}, ${look}`);
    }
  });
}

test("a scale that leaves less than the share that was sent ends at the largest value", () => {
  const map = { steps: new Uint16Array([0, 0, 0, 20, 100]), least: 0, largest: 1, prefix: new Float32Array() };
  const high = (leastShare) => endsOf({ steps: 100, fromZero: true, leastShare }, map, { scale: "own", clip: "75" }).high;
  assert.deepEqual([0.1, 0.3].map(high), [0.2, 1]);
});

test("percentiles are NumPy's", () => {
  for (const { values, percent, expected } of CASES.percentiles) {
    near(percentile(new Uint16Array(values), percent), expected, 1e-6, `percentile ${percent}`);
  }
});

test("a percentile leaves the values in their order", () => {
  const values = new Uint16Array([9, 10, 2]);
  assert.equal(percentile(values, 50), 9);
  assert.deepEqual([...values], [9, 10, 2]);
});

test("looks at the ends and in the middle of a scale", () => {
  const ramp = Uint8Array.from({ length: 3 * 256 }, (_, index) => Math.floor(index / 3));
  const lit = (share, look) => {
    const pixels = new Uint8ClampedArray(8);
    paint(pixels, 4, share, { ramp, heat: 0.8, veil: 0.6 }, look);
    assert.deepEqual([...pixels.subarray(0, 4)], [0, 0, 0, 0]);
    return [...pixels.subarray(4)];
  };
  assert.deepEqual(lit(0, "heat"), [0, 0, 0, 0]);
  assert.deepEqual(lit(0.5, "heat"), [128, 128, 128, 102]);
  assert.deepEqual(lit(1, "heat"), [255, 255, 255, 204]);
  assert.deepEqual(lit(0, "spotlight"), [0, 0, 0, 153]);
  assert.deepEqual(lit(0.5, "spotlight"), [0, 0, 0, 76]);
  assert.deepEqual(lit(1, "spotlight"), [0, 0, 0, 0]);
});

test("values beyond the ends have the colours of the ends", () => {
  const ramp = new Uint8Array(3 * 256).fill(7, 3 * 255);
  const sheet = { ramp, heat: 0.8, veil: 0.6, steps: 100 };
  const map = { steps: new Uint16Array([0, 50, 100]), least: -1, largest: 1, prefix: new Float32Array() };
  const alpha = (look, low, high) => {
    const pixels = shade(sheet, map, { low, high, above: true }, look);
    return [3, 7, 11].map((index) => pixels[index]);
  };
  assert.deepEqual(alpha("heat", -0.5, 0.5), [0, 102, 204]);
  assert.deepEqual(alpha("heat", 0, 0.5), [0, 0, 204]);
  assert.deepEqual(alpha("spotlight", 0, 0.5), [153, 153, 0]);
  // A scale without a span has one colour, and no number that is none.
  assert.deepEqual(alpha("heat", 0, 0), [0, 0, 0]);
});

test("patches have their layer's colours", () => {
  const colours = Uint8Array.from({ length: 12 }, (_, index) => index);
  const sheet = { grid: [1, 2], colours, tint: 0.4 };
  assert.deepEqual([...tinted(sheet, 1)], [6, 7, 8, 102, 9, 10, 11, 102]);
});

test("a map is called by its layer and its head, also where there is one layer", () => {
  const named = (columns, layers) => columns.map((_, column) => placeName({ columns, layers }, layers - 1, column));
  assert.deepEqual(named(["0", "1", "mean"], 3), ["L2 H0", "L2 H1", "L2 mean"]);
  assert.deepEqual(named(["0", "1", "mean"], 1), ["L0 H0", "L0 H1", "L0 mean"]);
  assert.deepEqual(named([""], 1), ["L0"]);
  assert.deepEqual(named(["Relevance", "Grad-CAM"], 1), ["Relevance", "Grad-CAM"]);
});

test("small things", () => {
  assert.deepEqual([-1, 0, 2, 3].map((index) => clamp(index, 3)), [0, 0, 2, 2]);
  assert.deepEqual([0, "Class token (CLS)", null].map(isPatch), [true, false, false]);
  assert.deepEqual([0.0123456, 1, 0, 1234.5, -0.5, -1.234e-7].map((each) => number(each)), ["0.0123", "1", "0", "1230", "−0.5", "−1.23e−7"]);
  assert.equal(number(10.94, 2), "11");
});

test("a photograph in grey has the lightness that Pillow gives it, and its opacity", () => {
  const pixels = new Uint8ClampedArray([255, 0, 0, 255, 0, 255, 0, 128, 10, 20, 30, 255]);
  turnGrey(pixels, [0.299, 0.587, 0.114]);
  assert.deepEqual([...pixels], [76, 76, 76, 255, 150, 150, 150, 128, 18, 18, 18, 255]);
});

test("maps side by side leave no holes where they can, and fill a narrow screen from left to right", () => {
  const desk = { width: 400, height: 600, aspect: 1, label: 16, most: 180 };
  const phone = { width: 366, height: 633, aspect: 1, label: 16, most: 110 };
  const tablet = { width: 567, height: 885, aspect: 1, label: 16, most: 110 };
  const columns = (room) => [3, 12, 24].map((count) => bestColumns(count, room));
  assert.deepEqual(columns(phone), [3, 3, 4]);
  assert.deepEqual(columns(tablet), [3, 4, 4]);
  for (const room of [desk, phone, tablet]) {
    for (const count of [3, 4, 6, 12, 24, 32]) assert.equal(count % bestColumns(count, room), 0, `${count}`);
    // A prime number of maps is no column as long as the page.
    assert.ok(bestColumns(13, room) > 1);
  }
});
