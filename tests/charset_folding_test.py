import pytest

from crnn_jax import charset
from crnn_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("case", "merge", "text", "folded"),
    [
        ("keep", "", "aB0Oß", "aB0Oß"),
        ("lower", "", "aB0Oß", "ab0oß"),
        ("upper", "", "aB0Oß", "AB0Oß"),  # ß in upper case is two symbols
        ("keep", "0O,1Il", "O0oIl1L", "00o111L"),
        ("lower", "0O,1Il", "O0oIl1L", "0001111"),  # the groups become 0o and 1il
        ("keep", "O0", "O0", "OO"),  # the first of the group
        ("keep", " 0 O ,\t1I l,", "OIl", "011"),
        ("lower", "Ss,0O", "Ss", "ss"),  # a single symbol in lower case
        ("keep", "e\u0301e", "é", "é"),  # a composed symbol, as in labels
        ("keep", "e\u0301e", "e", "é"),
    ],
)
def test_texts_are_mapped_to_the_case_and_then_to_the_first_of_the_group(
    case: str, merge: str, text: str, folded: str
) -> None:
    assert charset.parse_folding(case, merge)(text) == folded


@pytest.mark.parametrize(
    ("case", "merge", "alphabet", "represented"),
    [
        ("keep", "", "aAb", "aAb"),
        ("lower", "", "AabC", "aabC"),  # C has no lower-case counterpart in the alphabet
        ("upper", "", "AabC", "AAbC"),
        ("keep", "0O,1Il", "0OIlo", "00IIo"),  # 1 is missing, so the next of its group
        ("lower", "0O", "Oox", "oox"),
        ("lower", "0O", "Ox", "Ox"),
        ("lower", "", "AbC", "AbC"),
    ],
)
def test_an_alphabet_is_represented_within_itself(
    case: str, merge: str, alphabet: str, represented: str
) -> None:
    places = charset.parse_folding(case, merge).representatives(alphabet)
    assert "".join(alphabet[place] for place in places) == represented


@pytest.mark.parametrize(
    ("case", "merge", "message"),
    [
        ("Lower", "", "data.case must be keep or lower or upper, not 'Lower'"),
        ("keep", "0O,1", "data.merge: the group '1' has fewer than two symbols; write groups"),
        ("keep", "00", "fewer than two"),
        ("keep", "0O,QO", "data.merge: 'O' is in the groups '0O' and 'QO'; join the two"),
        ("upper", "0o,QO", r"'O' is in the groups '0o' and 'QO' \(in upper case\)"),
        ("keep", "0\ud800", "unpaired surrogate"),
    ],
)
def test_settings_that_cannot_be_are_named(case: str, merge: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        charset.parse_folding(case, merge, "data.")
