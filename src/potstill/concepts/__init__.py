"""Class names to described, checked and ranked concepts."""

from potstill.concepts.bank import ConceptBank as ConceptBank
from potstill.concepts.bank import Entry as Entry
from potstill.concepts.negatives import NEGATIVES as NEGATIVES
from potstill.concepts.space import ConceptSpace as ConceptSpace
from potstill.concepts.space import Vocabulary as Vocabulary
from potstill.concepts.validity import validity as validity
