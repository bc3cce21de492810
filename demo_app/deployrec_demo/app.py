"""The Streamlit script: opens the bundle, or says in one line why it cannot, and shows the page."""

from __future__ import annotations

import streamlit as st

from deployrec.errors import DeployrecError
from deployrec_demo import live, look, resources

st.set_page_config(page_title="deployrec", page_icon=":material/bolt:", layout="wide")
look.style()
try:
    resources.engine()
    st.navigation([st.Page(live.page, title="Live", default=True, url_path="live")], position="top").run()
except DeployrecError as error:
    st.error(str(error))
