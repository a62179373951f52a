"""The artefact: a distilled set on disk, readable by every tool that reads an image folder."""

from potstill.distilled.set import DistilledSet as DistilledSet
from potstill.distilled.set import Manifest as Manifest
from potstill.distilled.set import Record as Record
from potstill.distilled.set import Slot as Slot
from potstill.distilled.writer import Writer as Writer
