"""Page: what does the patch embedding look for?"""

from dashboard import widgets

widgets.figure_page("embedding_filters")
