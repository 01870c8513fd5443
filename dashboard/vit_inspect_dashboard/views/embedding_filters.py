"""View: which patterns does the patch embedding respond to?"""

from vit_inspect_dashboard import page

page.figure_page("embedding_filters")
