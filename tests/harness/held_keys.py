"""API keys in a dictionary, for a `KeyRing` without a broker."""

from dart.broker.core.access import ApiKey, NameRule, Scope
from dart.rest import key_text


class HeldKeys:
    """What a key ring needs of the keys in a store; `used_ids` has what was used."""

    def __init__(self):
        self.held = {}
        self.used_ids = []
        self.now_ms = 1_000_000
        self.on_revoked = lambda: None

    def get(self, key_id):
        return self.held.get(key_id)

    def peppered(self):
        return [key for key in self.held.values() if key.pepper]

    def used(self, keys):
        self.used_ids += [key.id for key in keys]

    def make(self, scope=Scope.SUBMIT, **changes):
        """A key that the server made: its text."""
        key_id, text = key_text.new_key()
        self.hold(key_id, digest=key_text.digest(text), scope=scope, **changes)
        return text

    def choose(self, text, pepper, scope=Scope.ADMIN, **changes):
        """A key whose text somebody chose."""
        sealed = {"digest": key_text.peppered(pepper, text), "pepper": key_text.name_of(pepper)}
        self.hold(text, **{**sealed, "is_weak": key_text.is_weak(text), "scope": scope, **changes})
        return text

    def hold(self, key_id, **changes):
        key = ApiKey(key_id, f"name of {key_id}", b"", "", False, Scope.READ, NameRule(), NameRule(), 1, 0)
        self.held[key_id] = key._replace(**changes)
