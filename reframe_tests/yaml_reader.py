"""Reads YAML strictly and fast: a key given twice is an error, and so is a tag of Python's.

PyYAML's own loaders match every scalar against regular expressions, over and over. Here its parser
gives the events, and what a text means as a scalar is looked up once.
"""

import yaml

MOST_DEPTH = 20  # of nested mappings and lists
_KEY_NEXT = object()


class _Nested:
    """A mapping or list that is being read."""

    def __init__(self, value):
        self.value = value
        self.key = _KEY_NEXT

    def put(self, item, mark) -> None:
        if isinstance(self.value, list):
            self.value.append(item)
        elif self.key is not _KEY_NEXT:
            self.value[self.key], self.key = item, _KEY_NEXT
        elif isinstance(item, (dict, list)):
            raise _error("a key is a mapping or a list", mark)
        elif item in self.value:
            raise _error(f"key {item!r} is given twice", mark)
        else:
            self.key = item


class _Scalars:
    """What scalars mean, as YAML's safe schema says; each text is resolved once."""

    def __init__(self):
        self.loader = yaml.SafeLoader("")
        self.known = {}

    def of(self, event):
        if event.tag is None and not event.implicit[0]:
            return event.value  # quoted
        key = (event.tag, event.value)
        if key not in self.known:
            tag = event.tag or self.loader.resolve(yaml.ScalarNode, event.value, (True, False))
            node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
            self.known[key] = self.loader.construct_object(node)
        return self.known[key]


def _error(text: str, mark) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, mark)


def read(text: str):
    """The value of a YAML document; None of an empty one.

    Raises:
        yaml.YAMLError: it is not YAML, gives a key twice, has a tag of its own or an alias, nests
            too deeply, or is more than one document.
        ValueError: a scalar that looks like a number or a date is none.
    """
    scalars = _Scalars()
    root = _Nested([])
    stack = [root]
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.ScalarEvent):
            item = scalars.of(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            item = {} if isinstance(event, yaml.MappingStartEvent) else []
        elif isinstance(event, yaml.AliasEvent):
            # a few lines of them can stand for more text than any memory holds
            raise _error(f"it has an alias (*{event.anchor}); write it out", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            continue
        else:
            continue  # the stream's and the document's ends
        stack[-1].put(item, event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > MOST_DEPTH:
                raise _error(f"more than {MOST_DEPTH} levels", event.start_mark)
            stack.append(_Nested(item))
        if len(root.value) > 1:
            raise _error("more than one document", event.start_mark)
    return root.value[0] if root.value else None
