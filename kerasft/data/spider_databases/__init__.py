"""Databases for Spider's questions, built from its schemas and filled by rule."""

from kerasft.data.spider_databases.collection import ROWS, Report, build_spider_databases

__all__ = ["ROWS", "Report", "build_spider_databases"]
