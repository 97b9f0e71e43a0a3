"""A small page on this machine that shows two recorded episodes side by side and keeps a person's choices."""

from marlhf.labelling.server import LabellingSettings, serve

__all__ = ["LabellingSettings", "serve"]
