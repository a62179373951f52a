"""A bank of concepts edited by a person, with its real images in view."""

from potstill.concepts.editing.session import EditSession as EditSession
