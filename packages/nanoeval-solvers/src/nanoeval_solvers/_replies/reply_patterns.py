"""Patterns of what replies say, in the languages that models reply in. Pure."""

from __future__ import annotations

import re
import unicodedata

# Look-alikes of Latin letters in other scripts. Only those that mean the same choice however they
# are counted: Cyrillic В looks like B and is the third letter of its alphabet, so it is ambiguous.
LOOK_ALIKES = str.maketrans({"А": "A", "С": "C", "Α": "A", "Β": "B", "Ε": "E"})

ANSWER_WORDS = unicodedata.normalize(  # as replies are
    "NFKC",
    r"(?<!\w)(?:answers?|ans|solution|conclusion|result|correction|"
    "antwort(?:en)?|lösung|réponses?|reponses?|respuestas?|respostas?|rispost[ae]|antwoord|"
    "svar|odpowied[źz]|odpověď|vastaus|cevap|yanıt|jawaban|câu trả lời|đáp án|"
    "ответы?|відповідь|απάντηση|الإجابة|الجواب|תשובה|उत्तर|คำตอบ)|"
    # Scripts without spaces between words.
    "答案|回答|选择|選擇|答え|解答|正解|답변|정답|답",
)
STATEMENT = re.compile(
    rf"(?P<word>{ANSWER_WORDS}|(?<!\w)(?:(?:choice|option|selection)s?|(?:correct|right|best)\s+one))"
    # "The answer to the question is …", "Answer (letter only): …": a few words on the way.
    r"(?P<gap>(?:\s*\([^()\n]{0,40}\))?"
    r"(?:\s*,\s*(?:then|therefore|thus|i\s+(?:think|believe)|in\s+my\s+opinion)\s*,)?(?:\s+(?:to|for|of|from|among|choice|option|letter|number|"
    r"should|must|would|will|could|might|can|here|therefore|thus|then|the|this|that|above|"
    r"correct|question|problem|your|our|my|be|being|given|\#?\d+|"
    r"final[ea]?|correcte?s?|correct[ao]s?|corret[ao]s?|corrett[ae]|bonne|juste|richtige|korrekte|"
    r"juiste|riktiga|prawidłowa|poprawna|doğru|đúng|الصحيحة|الصحيح)){0,6}(?:\s+\w+(?=\s*[:=]))?)"
    r"\s*(?:[:=→>\-–—]+|\bis\b|\bare\b|\bbe\b|\bwas\b|\best\b|\bist\b|\bes\b|\bé\b|\bè\b|\bjest\b|"
    r"\bsont\b|\bsind\b|\bson\b|\bsono\b|\blautet\b|\bär\b|\blà\b|\bهي\b|\bهو\b|คือ|"
    r"应该是|应该为|應該是|是|为|為|は|이|은|는|:)\s*(?:[:=→>\-–—]+\s*)?",
    re.IGNORECASE,
)
BARE_STATEMENT = re.compile(
    rf"(?:^|\n|(?<=[.!?。]))\s*(?:final\s+|correct\s+|my\s+|the\s+)*(?:{ANSWER_WORDS})"
    r"(?!\s*(?:[:=]|is\b))\.?\s*\n?\s*",
    re.IGNORECASE,
)
LATEX_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|mbox|operatorname)\s*\{([^{}]*)\}"
)
MARKUP = re.compile(
    r"[*`$#]+|(?<!\w)_+|_+(?!\w)|\\[()\[\]]|</?[A-Za-z][\w-]{2,}>|[\"“”„«»「」『』【】]|(?<!\w)'|'(?!\w)"
)
THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.IGNORECASE | re.DOTALL)
OPEN_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
CLOSED_THOUGHT = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.IGNORECASE | re.DOTALL)
NEGATED = re.compile(r"\s*(?:not|neither|never|isn't|no longer|nicht|pas|no es)\b", re.IGNORECASE)
NEGATED_BEFORE = re.compile(
    r"(?:\b(?:not|isn't|never|neither|nor|wrong|incorrect|first|initial|previous|if|whether|unless|suppose|doubt|"
    r"(?:not|n't)\s+(?:think|believe)|(?:false|untrue|unlikely|impossible)(?:\s+that)?)|"
    r"n't\s+(?:think|believe))(?:\s+that)?\s+(?:the\s+|an?\s+|my\s+)?(?:\w+\s+)?$|"
    r"不(?:应该?|能|该|會|会)?$",
    re.IGNORECASE,
)
# "not B but C" states C.
CORRECTED = re.compile(
    r"(?:\b(?:is|are)\s+not|\bisn't|\bnot|不是)\s*[(\[]?[A-Z][)\]]?\s*[,;，]?\s*"
    r"(?:but(?:\s+rather)?\b|rather\b|it(?:'s|\s+is)\b|sondern\b|mais\b|sino\b|而是)\s*"
)
# What follows a label that a sentence then rejects: "Answer: B is incorrect".
REJECTED = re.compile(
    r"\s+(?:(?:is|are|was|were|seems?|looks?|can|could)\s+(?:\w+\s+)?"
    r"(?:not|incorrect|wrong|false|impossible)\b|(?:isn't|aren't|can't|cannot|couldn't)\b)",
    re.IGNORECASE,
)
# A sentence that takes back what was said before.
RETRACTED = re.compile(
    r"(?:^|[.!?\n])\s*(?:but\s+|oh\s*,?\s*|hmm\W+|no\W+)?"
    r"(?:wait|actually|correction|scratch that|oops|on second thoughts?|i was wrong|"
    r"i made (?:a|an) (?:mistake|error)|i take that back|let me correct|"
    r"that(?:'s| is| was) (?:wrong|incorrect|not right)|no,? (?:it|the|that)(?:'s)?)\b",
    re.IGNORECASE,
)
NONE = re.compile(
    r"\s*[\[({]?\s*(?:none|no (?:choice|option|answer)s?|nothing|∅|\{\s*\}|\[\s*\])\b",
    re.IGNORECASE,
)
SEPARATOR = re.compile(
    r"\s*(?:[,;/&+、،·|]|and/or|\b(?:and|und|et|y|e|i|и|ja|og|och|ve|dan|および|и)\b|和|与|及|と|و)\s*"
    r"(?:(?:and|und|et|y|also)\b\s*)?",
    re.IGNORECASE,
)
OR = re.compile(
    r"\s*(?:,\s*)?\b(?:or|oder|ou|o|или|veya)\b\s*(?:(?:maybe|possibly|perhaps|even|also)\b\s*)*|"
    r"\s*或\s*",
    re.IGNORECASE,
)
LEAD = re.compile(
    r"\s*(?:(?:the|only|clearly|definitely|most likely|likely|probably|indeed|therefore|simply|"
    r"options?|choices?|letters?|answers?|statements?|items?|both|either|variant|wariant|"
    r"opción|opciones|option|réponse|вариант|пункт|a letra|la lettre|la letra|lettre|letra|"
    r"buchstabe|la|el|le|die|der|das)\b\s*[:#]?\s*)*",
    re.IGNORECASE,
)
# What may follow the label that a line begins with: "A is …" is a sentence about it.
AFTER_LINE = re.compile(
    r"\s*(?:$|[.,;:!?()\]}>、。，；)\n=|✓✔✅☑]|[\-–—/](?!\w)|(?:because|since|as|for|which)\b)",
    re.IGNORECASE,
)
# What may follow a letter in a script without spaces between words.
_AFTER_UNSPACED = (
    "です|だ(?:と|。|$)|である|になります|입니다|이다|이에요|예요|번입니다|选项|選項|项|項|"
    "と(?:思|考)"
)
# What may follow a bare letter in a sentence without making it a word of that sentence.
AFTER = re.compile(
    rf"\s*(?:{_AFTER_UNSPACED})|"
    r"\s*(?:$|[.,;:!?()\]}>、。，；)\n=|✓✔✅☑]|[\-–—/](?!\w)|(?:because|since|as|is|are|was|due|for|which|with|based|"
    r"given|per|by|and|but|or|not|rather|over|instead|weil|da|denn|car|parce|porque|perch[eé])\b)",
    re.IGNORECASE,
)
OPENING = re.compile(r"\s*(?:(?:option|choice)\s+)?[(\[{<]?\s*", re.IGNORECASE)
BRACKETS = ("(", "[", "{", "<")
CLOSING = (")", "]", "}", ">")
LAST_LINE = re.compile(r"(?:\A|\n)[*# ]*Answer:[* ]*\(?([A-Z])\)?[.*]*\Z")
LINE = re.compile(
    r"\s*(?:>+\s*|[-•✓✔✅☑➡→👉]\s*|(?:(?:so|thus|therefore|hence),?|it(?:'s| is| must be))\s+)*",
    re.IGNORECASE,
)
ARE_RIGHT = re.compile(
    r"\s+are\s+(?:all\s+|both\s+|the\s+|only\s+)*(?:correct|right|true|answers)\b", re.IGNORECASE
)
DECLARED = re.compile(
    r"(?:\b(?:options?|choices?|answers?|letters?)\s+)?[(\[]?(?P<label>\b[A-Z]{1,2}\b)[)\]]?"
    r"(?:\s*[:.)\-–—](?!\s*[(\[]?[A-Z][)\]]?\s)[^.\n]{0,200}?|\s*\([^()\n]{0,200}\))?"
    r"\s*,?\s+(?:is|seems|appears|looks|must be|would be|should be|has to be)\s+"
    r"(?:to be\s+|therefore\s+|thus\s+|clearly\s+|definitely\s+|indeed\s+|most\s+)*"
    r"(?:the\s+|my\s+)?"
    r"(?:(?:only|single|most|best|likely|final)\s+)*"
    r"(?:correct|right|true|best|accurate|appropriate|answer|choice|option)\b"
)
CHOSEN = re.compile(
    r"\b(?:choose|chose|choosing|pick|picking|select|selecting|selected|go(?:ing)?\s+with|"
    r"opt(?:ing)?\s+for|settle\s+on|say|guess|lean(?:ing)?\s+(?:towards?|to)|"
    r"points?\s+to|leads?\s+(?:us\s+)?to|matches|correct(?:\s+\w+)?:)\s*:?\s+"
    r"(?:answer\s+|option\s+|choice\s+|letter\s+|the\s+)*[(\[]?(?P<label>\b[A-Z]{1,2}\b)[)\]]?"
    r"(?=\s*(?:$|[.,;:!?)\]\n\-–—]|\(|because\b|since\b|as\b|over\b))",
    re.IGNORECASE,
)
CONCLUDED = re.compile(
    r"(?:(?i:(?:^|[.!?:]\s|\n)\s*(?:so|thus|therefore|hence|in conclusion|in summary|overall|"
    r"finally)\s*[,:]?\s+(?:it(?:'s|\s+is|\s+must\s+be)\s+)?)|"
    r"(?i:\bit(?:'s|\s+is|\s+must\s+be|\s+has\s+to\s+be)\s+))(?i:options?\s+|choice\s+)?"
    r"[(\[]?(?P<label>\b[A-Z]{1,2}\b)[)\]]?(?=\s*(?:[.!\n]|$|,?\s+(?:because|since|as)\b))"
)
CHOSEN_UNSPACED = re.compile(
    r"(?:[选選](?:择|擇)?|答え?は|正解は)\s*[:]?\s*[(\[]?(?P<label>[A-Z])(?![A-Za-z0-9])[)\]]?"
    r"(?!\s*(?:项|項)?\s*(?:是|不|错|錯|也|和|或|、|で(?:は|も)|じゃ|か))"
)
DECLARED_UNSPACED = re.compile(
    r"(?<![A-Za-z0-9])[(\[]?(?P<label>[A-Z])[)\]]?\s*(?:选项|選項|项|項)?\s*(?:才)?(?:是|が|가)\s*"
    r"(?:最)?(?:正确|正確|对的|對的|正解|答案|정답)(?!\s*(?:で(?:は|も)|じゃ|이\s*아))"
)
HEDGED = re.compile(r"\s*(?:maybe|possibly|perhaps|probably|potentially)\b", re.IGNORECASE)
DECLARATIONS = (DECLARED, CHOSEN, CONCLUDED, CHOSEN_UNSPACED, DECLARED_UNSPACED)
