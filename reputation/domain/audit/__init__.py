"""Audits of a sending domain or IP: what DNS and its servers say, what is wrong with it, and what to publish instead.

Pure: a plan asks its questions one by one (`asking`) and whoever runs it answers them, by DNS or by a table.
"""
