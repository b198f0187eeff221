"""A turn as the simulator knows it: lengths, and ids in the place of the text that is shared.

A prompt is system prompt, then all that was said before in the session, then what is said now; equal ids at equal
places mean equal tokens, so the second turn finds the first one's blocks, and a whole class shares its system prompt.
"""

from penstock.core.blocks import HASH_BLOCK_TOKENS
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.sessions import Session
from penstock_loadgen.texts import num_tokens_of

_BLOCK_BITS = 24  # of an id: the block's place in its prompt
_SYSTEM_PROMPTS = 1 << 63  # ids below are sessions'


def request_spec(session: Session, turn_index: int, due_s: float, first_token_deadline_s: float) -> RequestSpec:
    """One request of a session. An answer that the client gives up on is as long as what it stays for."""
    turn = session.turns[turn_index]
    num_system_tokens = num_system_prompt_tokens(session)
    num_before = sum(earlier.num_new_tokens + earlier.num_output_tokens for earlier in session.turns[:turn_index])
    num_prompt_tokens = num_system_tokens + num_before + turn.num_new_tokens
    prefix_ids, per_id = session.prefix_ids, session.tokens_per_prefix_id
    if not prefix_ids and (num_system_tokens or len(session.turns) > 1):
        per_id = HASH_BLOCK_TOKENS
        prefix_ids = _ids(session, num_system_tokens // per_id, num_prompt_tokens // per_id)
    return RequestSpec(
        arrived_s=due_s,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=turn.num_read_tokens,
        prefix_ids=prefix_ids,
        tokens_per_prefix_id=per_id,
        first_token_deadline_s=first_token_deadline_s,
        priority=session.traffic_class.priority,
    )


def num_system_prompt_tokens(session: Session) -> int:
    """Of the class; an estimate when it is given word for word."""
    traffic_class = session.traffic_class
    if traffic_class.system_prompt:
        return num_tokens_of(traffic_class.system_prompt)
    return traffic_class.system_prompt_tokens


def _ids(session: Session, num_system_blocks: int, num_blocks: int) -> tuple[int, ...]:
    system = _SYSTEM_PROMPTS + (session.class_index << _BLOCK_BITS)
    shared = range(system, system + num_system_blocks)
    if len(session.turns) == 1:
        return tuple(shared)  # nobody will ask for the rest again
    own = session.number << _BLOCK_BITS
    return (*shared, *range(own + num_system_blocks, own + num_blocks))
