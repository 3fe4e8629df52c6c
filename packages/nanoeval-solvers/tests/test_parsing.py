"""What models really write, and what it answers."""

from __future__ import annotations

import pytest
from nanoeval_solvers._replies.parsing import read_choices

CHOICES = ("Mitochondria", "A large ribosome", "The Golgi apparatus", "42 kJ/mol")
A, B, C, D = range(4)

# Reply, and the index of the choice that it names, or None when it names none.
ONE_ANSWER = [
    # bare labels
    ("C", C),
    ("c", C),
    ("C.", C),
    ("(C)", C),
    ("(c)", C),
    ("[C]", C),
    ("C)", C),
    (" C \n", C),
    ("**C**", C),
    ("**(C)**", C),
    ("`C`", C),
    ("$C$", C),
    ("'C'", C),
    ('"C"', C),
    ("Ｃ", C),
    ("（Ｃ）", C),
    ("a", A),
    ("A", A),
    ("Option C", C),
    ("option (c).", C),
    ("Choice D", D),
    ("> C", C),
    ("- C", C),
    ("C. The Golgi apparatus", C),
    ("C) The Golgi apparatus", C),
    ("C: The Golgi apparatus", C),
    ("(C) The Golgi apparatus", C),
    ("C - The Golgi apparatus", C),
    ("C\n\nThe Golgi apparatus modifies and sorts proteins.", C),
    ("B. A large ribosome", B),
    ("C, because proteins are sorted there.", C),
    # statements
    ("Answer: C", C),
    ("Answer: (C)", C),
    ("Answer: C.", C),
    ("answer: c", C),
    ("ANSWER: C", C),
    ("Answer:C", C),
    ("Answer = C", C),
    ("Answer - C", C),
    ("Answer C", C),
    ("**Answer: (C)**", C),
    ("**Answer:** C", C),
    ("**Answer**: **C**", C),
    ("### Answer: C", C),
    ("__Answer: C__", C),
    ("Answer: **C. The Golgi apparatus**", C),
    ("Answer: C. The Golgi apparatus", C),
    ("Answer: C) The Golgi apparatus", C),
    ("Answer: C The Golgi apparatus", C),
    ("Answer: Option C", C),
    ("Answer: option c", C),
    ("Answer:\nC", C),
    ("Answer:\n\n(C)", C),
    ("## Final Answer\n\nC", C),
    ("Final Answer: C", C),
    ("**Final Answer**\n\n**C**", C),
    ("Correct answer: C", C),
    ("The answer is C", C),
    ("The answer is C.", C),
    ("The answer is (C).", C),
    ("The answer is: C", C),
    ("the answer is c.", C),
    ("The correct answer is **C**.", C),
    ("The correct answer is **C. The Golgi apparatus**.", C),
    ("The correct option is C.", C),
    ("The correct choice is (C): The Golgi apparatus.", C),
    ("The best answer is option C because of sorting.", C),
    ("The answer to the question is C.", C),
    ("So the final answer should be C", C),
    ("My answer would be C.", C),
    ("Therefore, the answer is C, not A.", C),
    ("The answer is C since A and B are wrong.", C),
    ("Answer: A. Mitochondria", A),
    ("The answer is A.", A),
    ("The answer is a.", A),
    ("The answer is (a)", A),
    ("The answer is A because of ATP.", A),
    ("the answer is a", A),
    ("Answer: A large ribosome", B),
    ("The answer is a large ribosome", B),
    ("Answer: The Golgi apparatus", C),
    ("The answer is 42 kJ/mol.", D),
    ('{"answer": "C"}', C),
    ('```json\n{"reasoning": "It sorts.", "answer": "C"}\n```', C),
    ("<answer>C</answer>", C),
    ("Answer: <C>", C),
    ("Let's see. A is wrong. B is wrong.\n\nAnswer: C", C),
    ("Answer: C\n\nExplanation: A is where ATP is made; B makes proteins.", C),
    ("Answer: C (The Golgi apparatus). Options A, B and D do not sort.", C),
    ("Answer: A\n\nWait, that is wrong.\n\nAnswer: C", C),
    ("The answer is not A. The answer is C.", C),
    ("It could be A at first, but the answer is definitely C.", C),
    ("It's C", C),
    ("It is C.", C),
    ("I choose: C", C),
    ("Let's go with C.", C),
    ("Ans: C", C),
    ("Ans. C", C),
    ("Result: C", C),
    ("Therefore, option C.", C),
    ("So, (C).", C),
    ("Thus C.", C),
    ("✅ C", C),
    ("Answer: C ✅", C),
    ("Answer: C and here is why: it sorts.", C),
    ("Answer: C – the Golgi apparatus sorts", C),
    # boxes
    (r"\boxed{C}", C),
    (r"$\boxed{C}$", C),
    (r"\boxed{\text{C}}", C),
    (r"\boxed{\textbf{(C)}}", C),
    (r"\boxed{\mathrm{C}}", C),
    (r"\boxed{\text{C. The Golgi apparatus}}", C),
    (r"The final answer is $\boxed{C}$.", C),
    (r"First \boxed{A}, no: \boxed{C}", C),
    (r"\boxed{c}", C),
    (r"\[ \boxed{C} \]", C),
    (r"\boxed{42 kJ/mol}", D),
    # other scripts and languages
    ("Answer：C", C),
    ("答案：C", C),
    ("答案是C", C),
    ("答案是 (C)。", C),
    ("正确答案：**C**", C),
    ("答え：C", C),
    ("答えはCです", C),
    ("正解は C", C),
    ("정답: C", C),
    ("정답은 C", C),
    ("Ответ: C", C),
    ("Ответ: С", C),  # the Cyrillic letter
    ("Ответ: В", None),  # Cyrillic: looks like the second, counts as the third
    ("Réponse : C", C),
    ("La respuesta es C.", C),
    ("Respuesta correcta: C", C),
    ("Die Antwort ist C.", C),
    ("Antwort: (C)", C),
    ("A resposta é C", C),
    ("La risposta è C.", C),
    ("الجواب: C", C),
    ("उत्तर: C", C),
    ("Câu trả lời: C", C),
    # sentences
    ("C is correct.", C),
    ("Option C is the correct answer.", C),
    ("(C) is right because proteins are sorted there.", C),
    ("I would choose C.", C),
    ("I'll go with option C.", C),
    ("My pick: I select (C) because of sorting.", C),
    ("Based on this, I am going with C", C),
    # thoughts
    ("<think>Maybe A? Answer: A</think>\nAnswer: C", C),
    ("I think A at first.</think>C", C),
    ("<think>It must be C. Answer: C", None),
    # the text of one choice
    ("The Golgi apparatus", C),
    ("the golgi apparatus.", C),
    ("It sorts proteins, so:\n\n**The Golgi apparatus**", C),
    ("42 kJ/mol", D),
    # no answer
    ("", None),
    (None, None),
    ("   ", None),
    ("I don't know.", None),
    ("I cannot answer this question.", None),
    ("Answer:", None),
    ("Answer: E", None),
    ("E", None),
    (r"\boxed{E}", None),
    (r"\boxed{}", None),
    ("Answer: A or B", None),
    ("Answer: A, B", None),
    ("Answer: A and C", None),
    ("Both A and C", None),
    ("A\nB", None),
    ("A) Mitochondria\nB) A large ribosome\nC) The Golgi apparatus\nD) 42 kJ/mol", None),
    ("The answer is not A.", None),
    ("Answer: A or maybe C", None),
    ("Answer: A, or perhaps C", None),
    ("Answer: B-12", None),
    ("A, B, C and D are all wrong.", None),
    ("Neither A nor B.", None),
    ("The answer is a matter of debate.", None),
    ("A good question.", None),
    ("I think that this depends.", None),
    ("A is wrong and B is wrong.", None),
    ("Answer: none of the above", None),
    ("Mitochondria and The Golgi apparatus", None),
    ("C is correct. A is correct.", None),
]


@pytest.mark.parametrize(("reply", "expected"), ONE_ANSWER, ids=[repr(r) for r, _ in ONE_ANSWER])
def test_one_answer(reply: str | None, expected: int | None) -> None:
    picked = read_choices(reply, CHOICES).picked
    assert picked == (None if expected is None else frozenset({expected}))


CITIES = ("Lyon", "Paris", "Nice", "Lille")
IN_MANY_WORDS = [
    # Several languages.
    ("La respuesta correcta es C", "C"),
    ("La respuesta es la opción B.", "B"),
    ("La bonne réponse est la B.", "B"),
    ("Die Antwort lautet B", "B"),
    ("A resposta correta é a letra C.", "C"),
    ("Đáp án đúng là B", "B"),
    ("الإجابة الصحيحة هي B", "B"),
    ("คำตอบคือ B", "B"),
    ("정답은 C입니다", "C"),
    ("정답은 B가 아닙니다", None),
    ("답은 B입니다.", "B"),
    ("正解はDです", "D"),
    ("答えは「B」です。", "B"),
    ("答えはBではない", None),
    ("正解はBではなくCです", "C"),
    ("答案应该是C", "C"),
    ("答案是B选项。", "B"),
    ("故选B。", "B"),
    ("不选B。", None),
    ("选B和C", None),
    ("选项B是正确的", "B"),
    ("答案不是A，而是C", "C"),
    # Markup.
    ("$\\boxed{\\textbf{(\\text{B})}}$", "B"),
    ("\\boxed{\\mathrm{(B)}\\ \\text{Paris}}", "B"),
    ("\\boxed{A or B}", None),
    ("\\boxed{B", None),
    ("<final_answer>B</final_answer>", "B"),
    ("Answer: Ⓑ", "B"),
    # What is denied, doubted or supposed is not answered.
    ("I don't think the answer is B.", None),
    ("I don’t think the answer is B.", None),
    ("I doubt the answer is B", None),
    ("It is false that the answer is B.", None),
    ("If the answer is B, then the moon is cheese.", None),
    ("Answer: B is incorrect", None),
    ("The answer is A is wrong", None),
    ("The answer isn't A, it's C.", "C"),
    ("The answer is not A but C.", "C"),
    ("The correct answer is not B, it is D.", "D"),
    ("Neither A nor B. C is right.", "C"),
    ("It's not A. C is right.", "C"),
    ("A is wrong, C is wrong, D is wrong. So B.", "B"),
    ("C isn't right", None),
    # Corrections: the last word counts; where it is not clear, nothing is read.
    ("Answer: A. Actually, no: C.", None),
    ("Answer: A\n\nWait, C is correct.", "C"),
    ("Answer: A\nCorrection: C", "C"),
    ("Answer: B. Wait — on reflection it's D.", "D"),
    ("Answer: B\n\nWait, let me double check. Paris is the capital. Yes.", "B"),
    ("Answer: B\n\nExplanation: A is Lyon which is wrong, C is Nice.", "B"),
    ("The answer could be A or C, but I choose C.", "C"),
    ("The answer is either B or C", None),
    # Other ways to conclude.
    ("I think it's B", "B"),
    ("In conclusion, B", "B"),
    ("The answer, I believe, is B.", "B"),
    ("Among the options, the correct one is B.", "B"),
    ("The answer to your question is: B) Paris. Let me know if you need more!", "B"),
    ("It's A. No, it's B.", "B"),
]


@pytest.mark.parametrize(("reply", "expected"), IN_MANY_WORDS, ids=lambda value: repr(value)[:40])
def test_replies_of_many_kinds(reply: str, expected: str | None) -> None:
    picked = read_choices(reply, CITIES).picked
    assert picked == (None if expected is None else frozenset({"ABCD".index(expected)}))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("\\boxed{\\{A, C\\}}", "AC"),
        ("答案是AC", "AC"),
        ("Answer: A and maybe C", None),
        ("Answer: A, C, E", None),
        ("Answer: A or C", None),
        ("A is correct. B is incorrect. C is correct. D is incorrect.", "AC"),
        ("Answer: A, not C", "A"),
        ("All except B", None),
        ("Answer: A-C", None),
    ],
)
def test_sets_of_many_kinds(reply: str, expected: str | None) -> None:
    picked = read_choices(reply, CITIES, multiple=True).picked
    assert picked == (None if expected is None else frozenset(map("ABCD".index, expected)))


SEVERAL_ANSWERS = [
    ("Answer: A, C", {A, C}),
    ("Answer: A and C", {A, C}),
    ("Answer: A, B, and D", {A, B, D}),
    ("Answer: (A), (C)", {A, C}),
    ("Answer: (A) and (C).", {A, C}),
    ("Answer: [A, C]", {A, C}),
    ("Answer: {A, C}", {A, C}),
    ('{"answer": ["A", "C"]}', {A, C}),
    ("Answer: ACD", {A, C, D}),
    ("AC", {A, C}),
    ("A, C", {A, C}),
    ("A C", None),
    ("a, c", {A, C}),
    ("**A** and **C**", {A, C}),
    (r"\boxed{A, C}", {A, C}),
    (r"\boxed{\text{A and C}}", {A, C}),
    ("The correct answers are B and D.", {B, D}),
    ("The correct options are: B, D", {B, D}),
    ("答案：A、C", {A, C}),
    ("Ответы: A и C", {A, C}),
    ("Antwort: A und C", {A, C}),
    ("Answer: A; C", {A, C}),
    ("Answer: A & C", {A, C}),
    ("Answer: B", {B}),
    ("B", {B}),
    ("Answer: none", set()),
    ("Answer: none of the above", set()),
    ("A\nC", {A, C}),
    ("- A\n- C", {A, C}),
    ("A and C are correct.", {A, C}),
    ("Options A and C are both right.", {A, C}),
    ("A, B, C and D are all wrong.", None),
    ("Answer: A or C", None),
    ("Answer: A, E", None),
    ("I cannot tell.", None),
    ("A) Mitochondria\nB) A large ribosome\nC) The Golgi apparatus\nD) 42 kJ/mol", None),
    ("A is correct. C is correct.", {A, C}),
]


@pytest.mark.parametrize(
    ("reply", "expected"), SEVERAL_ANSWERS, ids=[repr(r) for r, _ in SEVERAL_ANSWERS]
)
def test_several_answers(reply: str, expected: set[int] | None) -> None:
    assert read_choices(reply, CHOICES, multiple=True).picked == expected


def test_more_choices_than_letters() -> None:
    choices = [f"choice number {n}" for n in range(30)]
    assert read_choices("Answer: AC", choices).picked == {28}
    assert read_choices("Answer: AC, B", choices, multiple=True).picked == {28, 1}
    assert read_choices("Answer: Z", choices).picked == {25}


def test_a_pronoun_is_no_choice() -> None:
    choices = [f"choice number {n}" for n in range(10)]
    assert read_choices("I have no idea", choices).picked is None
    assert read_choices("The answer is I", choices).picked == {8}


def test_equal_texts_are_not_told_apart() -> None:
    assert read_choices("same", ["same", "same", "other"]).picked is None
    assert read_choices("B", ["same", "same", "other"]).picked == {1}


def test_the_text_of_a_choice_goes_before_what_it_looks_like() -> None:
    vitamins = ["vitamin A", "vitamin C", "D", "B-12"]
    assert read_choices("Answer: B-12", vitamins).picked == {3}
    assert read_choices("Answer: D", vitamins).picked == {3}  # the label, as asked for
    blood = ["O", "A", "B", "AB"]
    assert read_choices("Answer: B", blood).picked == {1}
    assert read_choices("Answer: O", blood).picked == {0}
    assert read_choices("Answer: AB", blood).picked == {3}


@pytest.mark.parametrize("sentence", ["The answer is B. ", "Option B: foo bar. ", "\\boxed{B "])
def test_a_model_that_repeats_itself_without_end_holds_nothing_up(sentence: str) -> None:
    # Minutes, if the time grew with the square of the length: beyond the guard of every test.
    reply = sentence * (100_000 // len(sentence))
    assert read_choices(reply, CITIES).picked in (None, frozenset({1}))
