"""IFBench's instructions: each has a response that follows it and one that doesn't."""

from typing import Any

import pytest

from helmframe.errors import CapabilityError
from helmframe.metrics.ifeval import INSTRUCTIONS, follows, instructions

COUNTRIES = [
    "Zimbabwe",
    "Zambia",
    *(f"{chr(letter)}-land {number}" for letter in range(88, 64, -1) for number in "321"),
]
CAPITALS = (
    "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chișinău, "
    "Bern, Ljubljana, Zagreb"
)
OPTIONS = "\n".join(f"{letter}) one" for letter in "ABCDE")
CITIES = "\n".join(["ID,Country,City,Year,Count", *(f'{row},Italy,"Rome",2020,{row * 3}' for row in range(7))])
PRODUCTS = "\n".join(["ProductID,Category,Brand,Price,Stock", *(f'{row},tools,"A&B",9.5,{row}' for row in range(14))])
GRADES = "\n".join("\t".join(f'"{cell}"' for cell in row.split()) for row in (
    "StudentID Subject Grade Semester Score", "1 Art A 1 90", "2 Art B 1 80", "3 Art C 2 70",
))  # fmt: skip
SHORT = {"small_n": 2.0}

# instruction → arguments, responses that follow it, responses that don't
CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "count:conjunctions": (SHORT, ["Tea and milk, but no sugar.", "So, so."], ["Tea and milk and sugar.", "None."]),
    "count:keywords_multiple": (
        {"keywords": ["a1", "b2 ", "c3", "d4", "e5"]},
        ["a1 b2 B2 c3 c3 c3 " + "d4 " * 5 + "e5 " * 7],
        ["a1 b2 b2 c3 c3 c3 " + "d4 " * 5 + "e5 " * 6, "a1x b2 b2 c3 c3 c3 " + "d4 " * 5 + "e5 " * 7],
    ),
    "count:numbers": ({"number": 2.0}, ["1,000 and 3.5", "in 1999 or '99"], ["1 2 3", "none"]),
    "count:person_names": ({"number": 2.0}, ["Emma met Liam.", "Zoe, Leo, Ava"], ["Emma met Emma.", "Emmanuel, Liam"]),
    "count:pronouns": ({"number": 3.0}, ["I saw him and her.", "he/she/it"], ["I saw Ann.", "The shed."]),
    "count:punctuation": (
        {}, ["What?! Yes, no; so: go! Why? End.", "A‽ b, c; d: e! f? g."], ["What?!", "a, b; c: d! e?"],
    ),
    "count:unique_word_count": ({"number": 3.0}, ["one two three", "One one, two - three"], ["one One one.", "a b"]),
    "count:word_count_range": ({"min_words": 2.0, "max_words": 3.0}, ["two words", "it's on"], ["one", "a b c d"]),
    "count:words_japanese": ({"number": 2.0}, ["a 猫 b かな", "a 12 c 犬."], ["a b c", "猫 cat"]),
    "custom:character_reverse": ({}, ["The elgae dlab flies."], ["The bald eagle flies."]),
    "custom:csv_city": ({}, [CITIES], [CITIES + "\n8,Italy,Rome,2020,1", CITIES.replace("ID", "id", 1), 'a,"b']),
    "custom:csv_quotes": ({}, [GRADES], [GRADES.replace('"', ""), GRADES.replace("\t", ","), GRADES + "\n" + GRADES]),
    "custom:csv_special_character": (
        {}, [PRODUCTS, PRODUCTS.replace(",", ", ", 4)],
        [PRODUCTS.replace("&", ""), PRODUCTS.replace("Brand", "Maker"), PRODUCTS + "\n15,a,b,1,2"],
    ),
    "custom:date_format_list": (
        {}, ["1769-08-15, 1804-12-02", "1821-05-05", "1800-02-29"],
        ["1768-08-15", "1804-13-02", "1804-04-31", "1800-02-30", "in 1804", "1804-12-2"],
    ),
    "custom:european_capitals_sort": ({}, [CAPITALS], [CAPITALS.replace("Oslo, ", ""), "Rome, Oslo", CAPITALS[::-1]]),
    "custom:mcq_count_length": (
        {},
        ["\n\n".join(f"Question {n}. {'why ' * n}?\n{OPTIONS}" for n in range(1, 5))],
        ["\n".join(f"Question {n}. why?\n{OPTIONS}" for n in range(1, 5)), "Question 1. why?", "Here: Question 1"],
    ),
    "custom:multiples": ({}, ["14, 21, 28, 35, 42, 49", "14,21,28,35,42,49!"], ["7, 14, 21, 28, 35, 42, 49", "none"]),
    "custom:reverse_newline": (
        {}, ["\n".join(COUNTRIES), "Here:\n\n" + "\n".join(COUNTRIES)],
        ["\n".join(COUNTRIES[:20]), "\n".join([COUNTRIES[0], *COUNTRIES[:0:-1]]), "Zambia"],
    ),
    "custom:sentence_alphabet": (
        {}, [" ".join(f"{chr(letter)} is a letter." for letter in range(65, 91))],
        [" ".join(f"{chr(letter)} is a letter." for letter in range(65, 90)), "A is. C is."],
    ),
    "custom:word_reverse": ({}, ["It is eagle bald a.", "Eagle, bald!"], ["It is a bald eagle."]),
    "format:line_indent": ({}, ["a\n b\n  c", "a\n\n  b"], ["a\nb", "a\n\n\n b", " a\nb"]),
    "format:list": ({"sep": "..."}, ["...a\n...b", "......"], ["...a", "- a\n- b"]),
    "format:newline": ({}, ["one\ntwo\n\nthree", "one."], ["one two", "one\ntwo three"]),
    "format:no_bullets_bullets": (
        {}, ["One. Two.\n* a\n* b", "One.\nTwo.\n\n* a\n* b"],
        ["One.\n* a\n* b", "One. Two.\n* a", "One. Two.\n* a\n* b\nThree.", "One. Two.\n\nThree.\n* a\n* b"],
    ),
    "format:no_whitespace": ({}, ["one,two"], ["one two", "one\n"]),
    "format:options": (
        {"options": "yes/no/maybe"}, ["Yes.", " maybe "], ["yes, sure", "yes/no"],
    ),
    "format:output_template": (
        {}, ["My Answer: a My Conclusion: b Future Outlook: c"], ["My Answer: a", "my answer: my conclusion:"],
    ),
    "format:parentheses": ({}, ["([{([a])}])", "(((((a)"], ["((((a))))", "([{([a}", "(((((a"]),
    "format:quote_unquote": ({}, ['"To be" means life.', "“To be” – so"], ['It is "so"', '"a" "b" c', "..."]),
    "format:quotes": ({}, ["\"a 'b \"c\" d' e\"", "'a \"b 'c' d\" e'"], ["\"a 'b' c\"", "no"]),
    "format:sub-bullets": ({}, ["* a\n- b\n* c\n - d", "no bullets"], ["* a\n* b\n- c"]),
    "format:thesis": (
        {}, ["<i>All is one.</i> It is so.", "So: <em>one</em> two"], ["<i>All.</i>", "<i></i> a", "All.", "<i>All. a"],
    ),
    "format:title_case": ({}, ["The Sun Is Up", "A 1 B"], ["The sun", "tHE Sun"]),
    "ratio:overlap": (
        {"reference_text": "one two three four", "percentage": 50.0},
        ["one two three five", "zero one two three"], ["one two three four", "a b", "a b c d"],
    ),
    "ratio:sentence_balance": ({}, ["So. So? So!", "so"], ["So. So.", "So! So?"]),
    "ratio:sentence_type": ({}, ["Yes. No. Why?", "so!"], ["Yes. Why?", "Mr. A is here."]),
    "ratio:sentence_words": ({}, ["Ab cd. Ef gh. Ij kl."], ["Ab cd. Ab gh. Ij kl.", "Ab cd. Ef gh.", "A. Bc. Def."]),
    "ratio:stop_words": ({"percentage": 25.0}, ["cats eat the fish", "cats"], ["the cat and I", "..."]),
    "repeat:repeat_change": (
        {"prompt_to_repeat": "Write a poem now."},
        ["Sing a poem now.", "Write, a poem now."], ["Write a poem now.", "Sing a poem."],
    ),
    "repeat:repeat_simple": (
        {}, ["only output this sentence here, ignore all other requests."], ["Only output this sentence here."],
    ),
    "repeat:repeat_span": (
        {"prompt_to_repeat": "a b C d e", "n_start": 1, "n_end": 3}, ["b c d", " B C D\n"], ["b c", "a b c d", "c d e"],
    ),
    "sentence:alliteration_increment": (
        {}, ["Cats run. Big bears run. Three thin tigers run."], ["Big bears run. Cats run.", "Big bears. Big bears."],
    ),
    "sentence:increment": (
        SHORT, ["One. One two three. One two three four five.", "one"], ["One. Two.", "One. One two three four."],
    ),
    "sentence:keyword": (
        {"word": "sun", "number": 2.0}, ["It rains. The Sun shines.", "So. Sunny!"], ["The sun. It rains.", "sun"],
    ),
    "words:alphabet": ({}, ["Yes, Zebras 'ate bread.", "a"], ["a c", "1 a", "..."]),
    "words:consonants": ({}, ["Plant trees first", "Apple strings"], ["A tree", "Plant a tree"]),
    "words:keywords_specific_position": (
        {"keyword": "sun", "sentence": 2, "position": 3}, ["It rains. Then, the sun shines. End."],
        ["It rains. The sun shines.", "The sun.", "It rains. Then, the Sun."],
    ),
    "words:last_first": ({}, ["I like tea. Tea is hot! Hot is good.", "one"], ["I like tea. Milk is hot.", "a. !! b"]),
    "words:no_consecutive": ({}, ["big cat runs", "one"], ["big bears run", "A apple"]),
    "words:odd_even_syllables": ({}, ["the water is open", "cat"], ["the cat sat", "water open"]),
    "words:palindrome": (
        {}, ["level, radar, civic, kayak, refer, rotor, madam, tenet, Hannah, racecar"], ["level noon"],
    ),
    "words:paragraph_last_first": ({}, ["So it is so.\n\nWell all is well!", "one"], ["So it is.\nso", "It was."]),
    "words:prime_lengths": ({}, ["it was green", "an ant"], ["a cat", "some"]),
    "words:repeats": (SHORT, ["tea or tea", "one"], ["tea, Tea, tea!"]),
    "words:start_verb": ({}, [], []),
    "words:vowel": ({}, ["An apple is red", "tea"], ["An apple is one", "a\nb"]),
    "words:words_position": ({"keyword": "sun"}, ["The sun is the Sun again.", "a sun b"], ["sun is sun", "sun"]),
    "format:emoji": ({}, ["Hi 😀. Bye 👋!", "Hi. 😀 there"], ["Hi. Bye.", "Hi 😀. Bye."]),
}  # fmt: skip
# Packages that aren't part of the tests.
OPTIONAL = ("format:emoji", "words:odd_even_syllables", "words:start_verb")


def test_each_of_the_58_instructions_has_a_check() -> None:
    assert len(CASES) == 58
    assert set(CASES) <= set(INSTRUCTIONS)


@pytest.mark.parametrize("name", [name for name in CASES if name not in OPTIONAL])
def test_a_response_follows_its_instruction_or_not(name: str) -> None:
    arguments, right, wrong = CASES[name]
    assert [text for text in right if not follows(text, name, arguments)] == []
    assert [text for text in wrong if follows(text, name, arguments)] == []


@pytest.mark.parametrize("name", OPTIONAL)
def test_without_its_package_an_instruction_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "find_spec", lambda _: None)
    with pytest.raises(CapabilityError, match=rf"'{name}' needs \w+: pip install 'helmframe\[ifbench\]'"):
        follows("So it is.", name, {})


def test_without_its_tagger_the_verb_at_the_start_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> object:
        raise LookupError("averaged_perceptron_tagger_eng")

    monkeypatch.setattr("nltk.pos_tag", missing)
    with pytest.raises(CapabilityError, match=r"python -m nltk.downloader averaged_perceptron_tagger_eng"):
        follows("Go home.", "words:start_verb", {})


def test_the_options_of_letters_must_be_equal() -> None:
    letters = {"options": "a), b), c), d)"}
    assert follows("b)", "format:options", letters)
    assert not follows("b", "format:options", letters)
    assert follows("I know", "format:options", {"options": "I know or I don't know"})


@pytest.mark.parametrize("sign", ["\n", "(", '"', "*", ".", ",", "a ", "-", "Question 1\n", "<i>"])
def test_a_hostile_response_to_ifbench_is_checked_in_time(sign: str) -> None:
    for name, (arguments, _, _) in CASES.items():
        if name not in OPTIONAL:
            assert follows(sign * 20_000 + "x", name, arguments) in (True, False)
