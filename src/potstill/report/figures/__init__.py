"""Figures of saved sets and evaluations, drawn to be read on a light page and on a dark one."""

from potstill.report.figures.curve import Point as Point
from potstill.report.figures.curve import Reference as Reference
from potstill.report.figures.curve import curve as curve
from potstill.report.figures.curve import points as points
from potstill.report.figures.style import save as save
from potstill.report.figures.time import time_bars as time_bars
from potstill.report.figures.tsne import Cloud as Cloud
from potstill.report.figures.tsne import tsne as tsne
