"""The Streamlit script: opens the bundle, or says in one line why it cannot, and shows the page."""

from __future__ import annotations

import streamlit as st

from deployrec.errors import DeployrecError
from deployrec_demo import bundle_page, clicks, fleet, lab, live, look, resources, server_page

# A name of Material's or an emoji would be fetched from a host of fonts or pictures.
st.set_page_config(page_title="deployrec", page_icon=(clicks.STATIC / "icon.svg").read_text(), layout="wide")
look.style()
try:
    resources.engine()
    pages = [
        st.Page(live.page, title="Live", default=True),
        st.Page(lab.page, title="Lab", url_path="lab"),
        st.Page(fleet.page, title="Fleet", url_path="fleet"),
        st.Page(server_page.page, title="Server", url_path="server"),
        st.Page(bundle_page.page, title="Bundle", url_path="bundle"),
    ]
    chosen = st.navigation(pages, position="hidden")
    look.masthead(pages)
    chosen.run()
except DeployrecError as error:
    st.error(str(error))
