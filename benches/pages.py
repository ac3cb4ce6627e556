"""A page of the documents whose tables are made of figures: written anew, or checked."""

import argparse
import sys

import records
import table


def filled(blocks, content, text):
    """The text of a page with the blocks that the figures would have."""
    for name, block in blocks.items():
        text = table.replaced(text, name, block(content))
    return text


def main(description, place, results, blocks):
    """Write the page, or with --check exit with 1 if it does not say what the figures say."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the page is stale, write nothing")
    check = parser.parse_args().check
    try:
        text = place.read_text()
        wanted = filled(blocks, records.read(results), text)
    except (records.RecordError, OSError) as error:
        sys.exit(f"{place.relative_to(table.ROOT)} is not changed: {error}")
    if text != wanted and not check:
        place.write_text(wanted)
    sys.exit(1 if check and text != wanted else 0)
