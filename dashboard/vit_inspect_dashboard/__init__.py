"""The dashboard of vit_inspect: its pages, and what they share."""

import logging

# Streamlit warns of whoever uses its caches without a page: `launch.warm` does so, and it is right.
for _name in ("caching.cache_data_api", "scriptrunner_utils.script_run_context"):
    logging.getLogger(f"streamlit.runtime.{_name}").disabled = True
