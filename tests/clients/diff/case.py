"""One request, and what is done to its bytes."""


class Case:
    def __init__(self, name, value, damage=None, versions=None, good=False, patience=10):
        self.patience = patience  # seconds to wait for an answer
        self.name, self.value, self.damage, self.good = name, value, damage, good
        self.versions = versions or (0, 99)


def good(name, value, **more):
    return Case(name, value, good=True, **more)
