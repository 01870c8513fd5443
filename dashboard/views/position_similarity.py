"""Page: does the model know which patches are neighbours?"""

from dashboard import widgets

widgets.figure_page("position_similarity")
