"""The Streamlit demo of a bundle: recommendations that move with each click, their cost, and what the bundle holds."""
