"""The page of what was painted. What is done with a picture there says ui/pages/common/actions.py."""

from serving.history import History
from ui.api.history import PAGE, Album
from ui.pages.common.asking import ASKING, answered
from ui.pages.history.widgets import picture_history


def add_history_page(history: History) -> None:
    """Place the tab's widget and wire what it asks the server."""
    album, widget = Album(history), picture_history(PAGE)

    async def page(data: dict) -> dict:
        which = (data.get("favourites", False), data.get("since", ""), data.get("until", ""))
        sets = await album.page(data.get("owner"), data.get("search", ""), PAGE, data.get("before", ""), *which)
        return {"sets": sets, "count": await album.count(data.get("owner")), "notice": album.notice}

    widget.list(answered(page), outputs=widget, api_name="history_list", **ASKING)
