"""Invented text: its length, and what of it is shared."""

from penstock_loadgen.prompts import PromptWriter
from penstock_loadgen.sessions import Session, TrafficClass, Turn


def session(number: int, num_tokens: int = 120, **changes: object) -> Session:
    return Session(number, 0.0, TrafficClass(), (Turn(num_tokens, 10),), **changes)  # type: ignore[arg-type]


def test_the_same_seed_writes_the_same_and_each_session_its_own() -> None:
    assert PromptWriter(1).turn(session(4), 0) == PromptWriter(1).turn(session(4), 0)
    texts = {PromptWriter(seed).turn(session(number), 0) for seed in (1, 2) for number in (4, 5)}
    assert len(texts) == 4


def test_prompts_are_as_long_as_the_servers_tokenizer_makes_them() -> None:
    text = PromptWriter(0, tokens_per_word=1.5, num_frame_tokens=9).turn(session(0, 309), 0)
    assert len(text.split()) == 200
    assert PromptWriter(0, num_frame_tokens=50).turn(session(0, 10), 0)  # never empty


def test_equal_ids_at_equal_places_are_equal_text() -> None:
    writer = PromptWriter(0)
    one = writer.turn(session(0, 1100, prefix_ids=(7, 8, 9), tokens_per_prefix_id=512), 0).split()
    two = writer.turn(session(1, 1500, prefix_ids=(7, 8, 4), tokens_per_prefix_id=512), 0).split()
    assert (len(one), len(two)) == (1100, 1500)
    assert one[:1024] == two[:1024]
    assert one[1024:] != two[1024 : len(one)]


def test_a_trace_whose_ids_end_early_is_filled_with_text_of_its_own() -> None:
    writer = PromptWriter(0)
    one = writer.turn(session(0, 600, prefix_ids=(7,)), 0).split()
    two = writer.turn(session(1, 600, prefix_ids=(7,)), 0).split()
    assert len(one) == 600
    assert one[:512] == two[:512] and one[512:] != two[512:]


def test_a_class_shares_its_system_prompt_invented_or_given() -> None:
    invented = TrafficClass(system_prompt_tokens=40)
    sessions = [Session(number, 0.0, invented, (Turn(10, 10),)) for number in (0, 1)]
    writer = PromptWriter(0)
    assert len(writer.system_prompt(sessions[0]).split()) == 40
    assert writer.system_prompt(sessions[0]) == writer.system_prompt(sessions[1])
    given = Session(0, 0.0, TrafficClass(system_prompt="Be brief."), (Turn(10, 10),))
    assert writer.system_prompt(given) == "Be brief."
