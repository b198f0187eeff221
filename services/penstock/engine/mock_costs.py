"""What the mock engine takes for its work: the seconds it sleeps."""

from dataclasses import dataclass, fields

from penstock.core.encode_cost import EncodeCost
from penstock.core.errors import InvalidSettings
from penstock.core.types import Batch


@dataclass(frozen=True, slots=True)
class MockCosts:
    """Seconds of a step: a fixed part for each kind of work in it, and a part per token, sequence or patch."""

    prefill_s: float = 0.002
    prefill_s_per_token: float = 0.00001
    decode_s: float = 0.005
    decode_s_per_sequence: float = 0.0
    encode_s: float = 0.01
    encode_s_per_patch: float = 0.00002

    @classmethod
    def parse(cls, text: str) -> "MockCosts":
        """Read `decode_s=0.01,prefill_s=0`; what is not named keeps its default."""
        names = {field.name for field in fields(cls)}
        values: dict[str, float] = {}
        for entry in filter(None, text.split(",")):
            name, _, value = entry.partition("=")
            try:
                values[name.strip()] = float(value)
            except ValueError:
                raise InvalidSettings("mock_costs", text, f"'{entry}' is not NAME=SECONDS") from None
            if not 0.0 <= values[name.strip()] < float("inf"):
                raise InvalidSettings("mock_costs", text, f"'{entry}' is not a time that can pass")
        if unknown := values.keys() - names:
            raise InvalidSettings("mock_costs", text, f"unknown {sorted(unknown)}; there are {sorted(names)}")
        return cls(**values)

    @property
    def encode(self) -> EncodeCost:
        return EncodeCost(self.encode_s, self.encode_s_per_patch)

    def of(self, batch: Batch) -> float:
        num_decodes = batch.num_decodes
        num_prompt_tokens = batch.num_tokens - num_decodes
        prefill_s = self.prefill_s + self.prefill_s_per_token * num_prompt_tokens if num_prompt_tokens else 0.0
        decode_s = self.decode_s + self.decode_s_per_sequence * num_decodes if num_decodes else 0.0
        return prefill_s + decode_s
