"""Model folders, name tables, converters, inspection."""
