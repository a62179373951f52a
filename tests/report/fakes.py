"""The contents of fake sets, with names that try to break out of a page."""

KEYS = ("0", "n 1", 'q"2')
NAMES = ("zero <b>bold</b>", 'one & "only" </script><script>window.hacked = 1</script>', "two 🐙")
PHRASES = (
    "</script><script>window.hacked = 2</script>",
    "\"quoted\" 'phrase' <img src=x onerror='window.hacked = 3'>",
    "an octopus 🐙 \u2028 beside a | bar",
)
RANGE = (0.2, 0.3, 0.4)


def score(arm, label, index, phrase):
    """The k-th phrase's score: known to a test without reading the page's own code."""
    return round(0.15 + 0.05 * arm + 0.03 * index + 0.02 * label + 0.04 * phrase, 4)


def metadata(arm, label, index, scored=True):
    line = {
        "file_name": f"train/{label}/{index:05d}.png",
        "class": KEYS[label],
        "index": index,
        "seed": 7,
        "sha256": "0" * 64,
    }
    if not scored:
        return line | {"source": f"train/{index}"}
    return line | {
        "concepts": list(PHRASES),
        "scores": [score(arm, label, index, phrase) for phrase in range(len(PHRASES))],
        "negatives": [{"class": KEYS[(label + 1) % 3], "phrase": PHRASES[0]}],
        "contrast": 1.25,
        "teacher": 0.97,
    }


def shade_of(arm, label, index):
    """The one grey value of an image, different for each."""
    return 10 + 5 * (12 * arm + 4 * label + index)
