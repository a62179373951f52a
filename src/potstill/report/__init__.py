"""What a reader sees: tables, image grids, cards and the page, from saved sets and evaluations."""

from potstill.report.card import card as card
from potstill.report.card import write_card as write_card
from potstill.report.grid import grid as grid
from potstill.report.page import page as page
from potstill.report.table import table as table
