"""The pages and the REST interface, on Faust's web port."""

from app.web.routes import add_routes
from app.web.services import NotReady, WebServices

__all__ = ["NotReady", "WebServices", "add_routes"]
