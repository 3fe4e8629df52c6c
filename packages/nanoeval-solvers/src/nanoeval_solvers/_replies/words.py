# ruff: noqa: E501  wide characters count twice
"""What words mean in a reply: tables of words, one line a language or theme. Pure.

A word or phrase has one role. Roles are single characters, so that a clause becomes a short text
("the answer is" → `fNc`) over which the grammar of `parsing` is written.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

ANSWER = "N"  # names the answer
OPTION = "P"  # stands before a label; names the answer together with RIGHT or IS
OPTIONS = "O"  # names the options, in the plural: the answer only together with RIGHT
IS = "c"  # equates
RIGHT = "V"
WRONG = "X"
CHOOSE = "C"
SO = "S"  # concludes
NOT = "n"
NOT_AFTER = "z"  # denies what stands before it
IF = "h"  # supposes
MAYBE = "m"
ELSE = "u"  # the choices that are not the answer
CORRECTION = "K"  # heads an answer that replaces one of before
OTHERS = "o"  # somebody else's answer, or one of before
BUT = "r"  # takes back what was said, or turns to something else
ALTHOUGH = "k"  # concedes, up to the next comma
IT = "i"
IT_IS = "I"
FILLER = "f"
ARTICLE = "d"  # an indefinite one: what follows it is one of several
BECAUSE = "b"
ENDING = "e"  # ends a clause in scripts without spaces
RETRACT = "R"  # takes back all that was said
NOTHING = "0"  # none of the choices
WORD = "w"

_TABLES = {
    ANSWER: """
        gabarito|ones|remaining candidate|remaining option|remaining choice|remaining one
        answer|answers|ans|solution|response|key|selection|pick|guess|bet|vote|verdict
        answer choice|answer option|decision|conclusion|result|one|final|output
        antwort|antworten|lösung|ergebnis|antwortmöglichkeit
        réponse|réponses|reponse|proposition|respuesta|respuestas|solución|resposta|respostas
        risposta|risposte|soluzione|antwoord|antwoorden|oplossing|svar|svaret|svaralternativ
        rätt svar
        odpowiedź|odpowiedz|odpowiedzią|odpověď|odpoveď|odpovědí|vastaus|cevap|cevabı|cevabım
        yanıt
        yanıtı|jawaban|jawabannya|jawapan|câu trả lời|đáp án|phương án|válasz|răspuns|răspunsul
        raspunsul
        raspuns|odgovor|отговор|отговорът|jibu|jibu ni|vastaus on|svaret er|svar er|odpowiedź to
        odpověď je|odpoveď je|odgovor je|vastus|atsakymas|atbilde|sagot|resposta final
        resposta certa
        ответ|ответы|ответом|відповідь|απάντηση|λύση|الإجابة|الجواب|إجابة|الاجابة|جواب|پاسخ
        תשובה|התשובה
        उत्तर|जवाब|उत्तर है|সঠিক উত্তর|উত্তর|பதில்|விடை|సమాధానం|ಉತ್ತರ|ഉത്തരം|જવાબ|ਉੱਤਰ|उत्तरम्
        คำตอบ|答案|回答|答え|解答|正解|答|正答|回答は|답변|정답|답|해답|本题答案|ตอบ
        """,
    OPTION: """
        option|choice|letter|answer letter|opción|opção|opzione|optie|opcja|alternativa
        alternativet|pilihan
        seçenek|şıkkı|şık|lựa chọn|varianta|chaguo|opsi|alternatyw|buchstabe|letra|lettre
        lettera|пункт|вариант
        варіант|буква|επιλογή|الخيار|الحرف|האפשרות|विकल्प|বিকল্প|விருப்பம்|ตัวเลือก|ข้อ|选项|選項
        選択肢|보기|선택지|item
        statement|variant|wariant|variante
        """,
    OPTIONS: """
        alternative|candidate|options|choices|alternatives|possibilities|candidates
        possible answers|possible choices
        answer choices|answer options|given answers|statements|option list|multiple choices
        given options|possible options|each option|each choice|every option
        optionen|antwortmöglichkeiten|opciones|opções|opzioni|alternativas|варианты
        варианты ответа
        """,
    IS: """
        is|are|be|was|were|equals|remains|becomes|being|'s|would be|must be|should be|has to be
        have to be
        will be|is probably|needs to be|ought to be|appears to be|seems to be|is going to be
        seems|appears
        looks|looks like|stands as|turns out to be|gotta be|got to be|has got to be|is called
        is given by|comes out to|comes out as|comes to
        ist|sind|lautet|wäre|est|sont|serait|es|son|sería|é|são|seria|è|sono|sarebbe|zijn|jest
        są|to jest
        jsou|ovat|olarak|adalah|ialah|là|är|este|είναι|это|היא|הוא|ni
        هو|هي|คือ|是|为|為|应为|应是|应该是|应该为|應該是|就是|即|即为|は|が|이|은|는|가
        것은|のは
        """,
    RIGHT: """
        stimmt|passt|wins|wins out|stands out|comes out on top|takes it|prevails|survives
        is left|is what remains|is what is left|is all that remains
        correct|right|true|best|accurate|appropriate|valid|proper|suitable|fitting|winner
        favorite
        fits|works|fits best|works best|makes sense|makes the most sense|makes most sense
        way to go|spot on|accurately|correctly|the case|plausible|logical|sound
        yes|✓|✔|✅|☑|√|match|matching|a match|likely|most likely
        richtig|richtige|richtigen|korrekt|korrekte|zutreffend|correcte|correcta|correctas
        correcto|juste
        bonne|vrai|vraie|exacte|exact|verdadera|verdadero|cierta|correta|corretas|correto|certa
        certo|corretta
        corrette|corretto|giusta|giusto|juist|juiste|goed|goede|rätt|riktig|riktige|rigtig
        rigtige
        prawidłowa|poprawna|prawidłową|poprawną|správná|správně|oikea|oikein|doğru|doğrudur
        benar|tepat|đúng
        helyes|corect|corectă|corecta|sahihi|верный|верно|правильный|правильно|верен|правильным
        верным
        правильна|правильною|вірна|вярно|σωστή|σωστό|الصحيحة|الصحيح|صحيحة|صحيح|نכונה|נכונה
        הנכונה|सही|সঠিক
        சரியான|సరైన|ถูกต้อง|ถูก|正确|正確|对的|對的|对|對|正确的|正確的|正しい|맞는|맞습니다|맞다|맞아요|옳은|옳다|옳습니다
        """,
    WRONG: """
        least likely|least plausible|least correct|least probable|least accurate|less likely
        wrong|incorrect|false|invalid|inaccurate|untrue|impossible|implausible|mistaken
        ruled out
        eliminated|excluded|rejected|discarded|distractor|distractors|incorrectly|dismissed
        irrelevant
        unsuitable|inappropriate|unsupported|nonsense|a distractor|crossed out|✗|✘|❌|☒|✖|worst
        improbable|flawed|erroneous|misleading|a trap|the trap|eliminate|exclude|discard
        rule out|rules out
        falsch|falsche|unzutreffend|faux|fausse|incorrecta|incorrecto|falsa|falso|errada|errado
        incorreta
        sbagliata|sbagliato|errata|fout|onjuist|fel|feil|forkert|błędna|nieprawidłowa|špatně
        väärin|väärä
        yanlış|yanlıştır|salah|sai|hibás|helytelen|greșit|неверно|неправильно|неверный|خطأ|خاطئة
        गलत|ভুল
        ผิด|错误|錯誤|错|錯|错误的|不正确|不正確|不对|不對|间违い|間違い|誤り|不正解|틀린|틀렸|오답|틀렸습니다
        """,
    CHOOSE: """
        goes to|leaving|to answer|will answer|would answer|i answer|i'd answer|i'll answer
        choose|chose|chosen|choosing|select|selected|selecting|pick|picked|picking|go with
        going with|went with
        opt for|opting for|settle on|settled on|settling on|go for|going for|vote for|say
        lean towards
        lean toward|leaning towards|leaning toward|lean to|leaning to|points to|point to
        point towards
        points towards|leads to|leads us to|lead to|lead us to|matches|corresponds to
        correspond to|leaves
        leaves us with|leave us with|leaves only|leaves me with|left with|we are left with
        arrive at
        arrives at|arrived at|conclude|mark|bet on|stick with|sticking with|guess
        narrows it down to
        narrowed down to|answer is|is answered by|favor|favors|supports|indicates|suggests
        identifies|land on
        believe|think|reply|pronounce for|plump for|take|answering|respond with|choose is
        remaining is
        wähle|wählen|nehme|entscheide mich für|tippe auf|choisis|choisirais|opte pour
        choisissons|elijo|escojo
        selecciono|elegimos|escolho|escolheria|scelgo|sceglierei|kies|kiezen|wybieram|väljer
        velger|vælger
        valitsen|seçiyorum|memilih|pilih|chọn|tôi chọn|aleg|выбираю|выберу|выбираем|обираю|اختار
        أختار|चुनता हूँ
        चुनूँगा|เลือก|选|選|选择|選擇|meant|mean|get|obtain|選ぶ|選びます|选出|选的是
        """,
    SO: """
        so|thus|therefore|hence|consequently|in conclusion|in summary|overall|finally
        as a result|ergo
        accordingly|to conclude|concluding|in short|all in all|to summarize|summing up
        this means|that means
        which means|meaning|it follows that|we conclude that|⇒|∴|→|=>|->|-->|==>|➜|➡|👉|▶
        that makes|this makes|making|which makes
        somit|daher|folglich|deshalb|demnach|donc|ainsi|par conséquent|en conclusion
        por lo tanto
        por tanto|así que|en conclusión|portanto|assim|logo|então|quindi|pertanto|dunque|dus
        daarom|więc|zatem
        dlatego|tedy|siis|joten|dolayısıyla|bu nedenle|jadi|maka|oleh karena itu|vậy|do đó
        vì vậy|tehát|deci
        kwa hiyo|следовательно|поэтому|таким образом|итак|отже|тому|άρα|إذن|لذلك|לכן|इसलिए|तो
        অতএব|ดังนั้น
        因此|所以|故|综上|综上所述|綜上所述|综上可知|则|可知|可得|よって|したがって|従って|ゆえに|따라서|그러므로|즉
        """,
    NOT: """
        not|isn't|aren't|wasn't|weren't|don't|doesn't|didn't|won't|wouldn't|shouldn't|can't
        cannot|couldn't
        never|neither|nor|no|without|rather than|instead of|other than|except|except for
        anything but
        all but|everything but|nothing but|doubt|deny|refuse|unable|reject|rejects|avoid
        far from|mistake
        a mistake|no way|than|haven't|hasn't|hadn't|ain't|ruling out|eliminating|excluding
        dismiss|denies
        as opposed to|opposed to|apart from|aside from|decline|fail|fails|hesitate|refrain
        disagree|nope
        unlikely|mustn't|needn't|nobody|excl|isnt|dont|cant|wont
        nicht|kein|keine|keinen|weder|noch|niemals|statt|anstatt|pas|n'est|jamais|ni|non|nulla
        não|nunca
        niet|geen|nie|není|nejde|inte|ikke|ej|ei|eivät|değil|bukan|tidak|không|không phải|nem|nu
        si|sio|siyo
        не|нет|ні|δεν|όχι|ليس|ليست|لا|לא|אינה|नहीं|नहीं है|নয়|ไม่|ไม่ใช่|不|不是|并非|並非|非|不能|不该|不应
        不會|不会|不应选
        不应该|不选|不選|没有|无法|無法
        """,
    NOT_AFTER: """
        ではない|ではなく|ではありません|じゃない|じゃなく|ではなくて|とは限らない|とは限りません|でもない|はない|ではないと思う
        아니|아닙니다|아니라|아니다|아니고|않|아니에요|아닌|değil|değildir|नहीं है|नहीं|নয়|அல்ல|కాదు|nicht|niet
        不对|不對|不正确
        """,
    IF: """
        whichever|if|suppose|supposing|assume|assuming|imagine|hypothetically|whether|unless|otherwise
        had it|were it
        would have been|could have been|should have been|might have been|let's say|let us say
        let|in case
        provided|e g|had the|were the|should the|example|for example|for instance
        were the question|in that case|only if|depending|depends
        falls|wenn|angenommen|ob|sofern|beispiel|zum beispiel|si la|si le|si on|si l|supposons
        supongamos
        si la respuesta|si fuera|se la|se a|se fosse|als|jeśli|gdyby|kdyby|pokud|jos|om|hvis
        eğer|jika|kalau
        nếu|ha|dacă|если|якщо|αν|إذا|لو|אם|यदि|अगर|যদি|ถ้า|หาก|如果|假如|若|若是|假设|倘若|もし|만약|例如|比如
        """,
    MAYBE: """
        not only|but also|nicht nur|sondern auch|non seulement|mais aussi|no solo|sino también
        не только|но и|不仅|而且
        could|might|may|maybe|perhaps|possibly|potentially|between|tie|toss-up|toss up|undecided
        unsure
        uncertain|torn|not sure|considering|consider|considered|hesitating|could be|might be
        may be|can be
        could also be|may also be|might also be|possible|unclear|ambiguous|conceivably|arguably
        vielleicht|könnte|könnten|möglicherweise|zwischen|peut-être|pourrait|entre|quizás
        tal vez|podría
        acaso|talvez|poderia|forse|potrebbe|tra|misschien|tussen|może|możliwe|možná|ehkä|belki
        mungkin|có thể
        talán|poate|labda|может|возможно|может быть|можливо|между|ίσως|ربما|אולי|शायद|হয়তো|อาจ
        可能|也许|或许|かもしれない
        かも|아마|아마도
        """,
    OTHERS: """
        almost|nearly|been leaning|was leaning|were leaning|was inclined|was tempted|was going to
        many|students|student|people|someone|somebody|some people|some students|some might
        some would|some may|some think
        some say|some textbooks|some sources|one might|one may|one could|you might|you may
        you could|at first|at first glance|at first sight|first glance|initially|originally
        previous|previously
        first answer|first thought|first guess|first choice|first instinct|first impression
        initial|original
        earlier|second choice|2nd choice|second-best|second best|runner-up|runner up|next best
        close second
        third choice|common|commonly|tempting|tempted|naive
        naively|classmate|friend|textbook|my first|my initial|backup
        often|usually|typically|frequently|popular|confuse|confused|mistakenly|wrongly|they|she
        he|teacher
        colleague|candidate answer|candidate answers|rejected answer|plausible but|seemingly
        used to
        superficially|tentatively|i thought|had thought|thought that|thought it|thought the
        was thinking|draft|provisional|provisionally|placeholder|sample|format|formatted
        viele|manche|zunächst|anfangs|ursprünglich|vorherige|beaucoup|certains|d'abord|muchos
        algunos|al principio|inicialmente|muitos|alguns|a princípio|molti|alcuni|inizialmente
        veel|sommigen|aanvankelijk|wielu|niektórzy|początkowo|mnoho|aluksi|başta|banyak|awalnya
        многие|сначала|некоторые|изначально|первоначально|багато|спочатку|كثير|في البداية|बहुत
        शुरू में|很多人
        有人|有些人|起初|一开始|最初|最初は|처음에|처음에는|많은
        """,
    ELSE: """
        second|third|secondary|backup|fallback|alternate
        other|others|rest|the others|alternative answer|other answers|other answer|unlike|runner
        andere|anderen|autres|otras|otros|outras|outros|altre|altri|inne|ostatní|muut|diğer
        lainnya|khác
        другие|остальные|інші|الأخرى|अन्य|अन्य विकल्प|อื่น|其他|其余|他の|다른
        """,
    CORRECTION: """
        correction|edit|update|corrected|revised|revision|amended|korrektur|corrección|correção
        correzione|исправление|更正|訂正|정정
        """,
    BUT: """
        but|however|actually|wait|in fact|rather|instead|on reflection|yet
        then again|on second thought|on second thoughts|upon reflection|no wait|oops|hmm|sorry|nevertheless
        nonetheless|in reality|in truth|hold on|let me correct
        aber|jedoch|allerdings|sondern|tatsächlich|eigentlich|mais|cependant|pourtant|en fait
        en réalité
        pero|sin embargo|sino|en realidad|de hecho|mas|porém|contudo|na verdade|ma|tuttavia
        però|bensì|in realtà|maar|echter|eigenlijk|ale|jednak|lecz|však|mutta|vaan|ama|ancak
        fakat|aslında|tetapi
        tapi|melainkan|sebenarnya|nhưng|mà là|tuy nhiên|thực ra|hanem|dar|ci|lakini|bali|но
        однако|а|на самом деле
        але|проте|αλλά|لكن|بل|אבל|אלא|लेकिन|बल्कि|কিন্তু|แต่|但|但是|然而|而是|其实|實際上|实际上|不过
        しかし|だが|ただし|하지만|그러나|실제로는|실제로
        """,
    ALTHOUGH: """
        although|though|while|whereas|even though|despite|granted|even if|obwohl|während
        bien que|aunque|si bien
        mientras que|embora|sebbene|anche se|hoewel|terwijl|choć|ačkoli|vaikka|meskipun|walaupun
        mặc dù|bár|deși
        хотя|хоча|رغم|हालाँकि|虽然|雖然|尽管
        """,
    IT: """
        it|this|that|which|here|there|we|das|ce|cela|eso|esto|isso|isto|questo|dat|to je|eto|这|那
        它|それ|これ
        """,
    IT_IS: """
        it's|that's|this's|its|it is|that is|this is|it must be|it has to be|it should be
        it would be|c'est|es ist|das ist|se trata de|trata-se de|si tratta di|het is|dat is|це
        это
        """,
    FILLER: """
        ok|okay|alright|well|naturally|almost certainly|nearly certainly|almost surely
        the|my|our|your|final|only|single|also|really|still|let me|let's|let us|indeed
        definitely|clearly|simply|probably|certainly|surely|to be
        of|both|either|then|now|just|ultimately|obviously|undoubtedly|specifically|namely
        of course|without a doubt|without doubt|no doubt|would|will|if i had to|if i have to
        if forced to|if pressed|most
        very|absolutely|quite|again|here's|following|proper|label|labeled|labelled|marked|number
        no|#|i|i'm|i'd
        i'll|sir|please|per|into|as|intended|question|the following|above|first and foremost
        confident|must
        likely|overall|remaining|surviving|text|sure|pretty|fairly|all|unquestionably
        ich|die|der|das|den|dem|le|la|les|el|los|las|lo|o|os|il|gli|de|het|det|az|to|yang|huruf
        ข้อที่|ที่|ก็|最|本题|此题|这道题|这题|题|我|的|了|该|应该|最终|最后
        最適な|最も|私の|最終|最終的な|正しい選択肢|가장|최종|저는|나는|제|その|この|字母|项目|中|「|」|定|終
        """,
    ARTICLE: """
        a|an|ein|eine|einen|un|une|una|uno|um|uma|een|en|ett|bir|sebuah|một
        """,
    BECAUSE: """
        because|since|as|as the|for|due|given|with|where|based|by|over|from|and|so that|who|on|in|when
        at|via|per
        weil|da|denn|car|parce|parce que|puisque|porque|ya que|pois|perché|poiché|omdat|want
        ponieważ|bo|protože
        koska|çünkü|karena|vì|mert|deoarece|kwa sababu|потому|так как|поскольку|бо|тому що|γιατί
        لأن|כי|क्योंकि|কারণ
        เพราะ|因为|因為|なぜなら|ので|から|왜냐하면|때문|라고
        """,
    ENDING: """
        です|だ|である|になります|となります|と思います|と考えられます|でしょう|だと思います|입니다|이다|이에요|예요|번입니다|번|이라고 생각합니다
        项|項|选项|選項|である。|です。|ครับ|ค่ะ|है|हैं|হলো|হল|হচ্ছে|ஆகும்|হবে|হয়|şıkkıdır|tür|dır|dir|dur
        dür|とする|を選びます|を選ぶ|번이다|를 선택합니다
        을 선택합니다|를|을|を|に|로|으로|olur|olmalıdır
        """,
    RETRACT: """
        i retract|retract|i take that back|take that back|scratch that|disregard|ignore that
        ignore my|i was wrong
        i don't know|i do not know|i have no idea|no idea|i am wrong|i made a mistake
        i made an error|never mind
        that's wrong|that is wrong|that was wrong|that's incorrect|that is incorrect
        that's not right
        that is not right|i change my mind|i changed my mind|i withdraw|withdraw
        not sure anymore|i cannot answer
        can't decide|cannot decide|i'm torn|i am torn|strike that|maybe not|undecided
        i can't answer|i can't tell|i cannot tell|cannot be determined|this is wrong
        this is incorrect
        ich weiß es nicht|je ne sais pas|no lo sé|não sei|non lo so|不知道|我不知道|わかりません|모르겠습니다
        я не знаю
        """,
    NOTHING: """
        none|none of the above|none of these|none of them|no option|no choice|no correct answer
        neither
        none of the options|none of the choices|no answer|empty set|nothing|∅
        none of the given options
        """,
}  # fmt: skip

UNSPACED = "\u0e00-\u0e7f\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LETTER = rf"(?:[^\W\d_{UNSPACED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}+(?:['-](?={_LETTER}{{2}}){_LETTER}+|'{_LETTER}(?!{_LETTER}))*)"
    rf"|(?P<run>[{UNSPACED}]+)|(?P<number>\d[\d.,]*\d|\d)|(?P<arrow>[-=]{{1,2}}>)|\n|[^\s]"
)
_INTERJECTIONS = frozenset(("no", "nope", "nein", "non", "нет", "не"))
_SUFFIXED = re.compile(r"([A-Z])('[^\W\d_]{2,4})")
_LONGEST = 4  # words of a phrase


class Word(NamedTuple):
    """A word, number or sign of a plain text: its role, and where it stands."""

    role: str
    text: str
    start: int
    end: int


def _spelled(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _phrases() -> tuple[dict[str, str], frozenset[str]]:
    roles: dict[str, str] = {}
    for role, table in _TABLES.items():
        for line in table.splitlines():
            for entry in line.strip().split("|"):
                if entry:
                    roles.setdefault(_spelled(entry), role)
    return roles, frozenset(phrase.split(" ")[0] for phrase in roles if " " in phrase)


ROLES, _BEGINNINGS = _phrases()
_LONGEST_UNSPACED = max(len(entry) for entry in ROLES if re.fullmatch(rf"[{UNSPACED}]+", entry))


def words_of(text: str) -> list[Word]:
    """Return the words of a plain text, phrases as one; line ends are words too."""
    words: list[Word] = []
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "run":
            words += _unspaced(token[0], token.start())
        else:
            shown = token[0]
            role = (
                _role(shown.lower())
                if token.lastgroup in ("word", "arrow")
                else "9"
                if token.lastgroup == "number"
                else ROLES.get(shown, "!" if unicodedata.category(shown[0]) == "So" else shown)
            )
            if shown[-2:] == "'s" and role == WORD and (stem := ROLES.get(shown[:-2].lower())):
                words.append(Word(stem, shown[:-2], token.start(), token.end() - 2))
                words.append(Word(IS, "'s", token.end() - 2, token.end()))
                continue
            suffixed = _SUFFIXED.fullmatch(shown)
            if suffixed and ROLES.get(suffixed[2][1:].lower()) == ENDING:  # Turkish: "B'dir"
                middle = token.start() + len(suffixed[1])
                words.append(Word(WORD, suffixed[1], token.start(), middle))
                words.append(Word(ENDING, suffixed[2], middle, token.end()))
                continue
            words.append(Word(role, shown, token.start(), token.end()))
    return _joined(words)


def _role(word: str) -> str:
    role = ROLES.get(word)
    if role is None and "'" in word:  # l'option, dell'opzione
        role = ROLES.get(word.partition("'")[2])
    return role or WORD


def _unspaced(run: str, start: int) -> list[Word]:
    """Return the words of a script without spaces: the longest of the tables at each place."""
    words: list[Word] = []
    at = 0
    while at < len(run):
        for length in range(min(_LONGEST_UNSPACED, len(run) - at), 0, -1):
            role = ROLES.get(run[at : at + length])
            if role is not None or length == 1:
                words.append(
                    Word(role or WORD, run[at : at + length], start + at, start + at + length)
                )
                at += length
                break
    return words


def _joined(words: list[Word]) -> list[Word]:
    joined: list[Word] = []
    at = 0
    while at < len(words):
        first = words[at]
        taken = 1
        if first.text.lower() == "ans" and words[at + 1 : at + 2] and words[at + 1].text == ".":
            taken = 2
        elif first.text.lower() in _BEGINNINGS:
            for length in range(min(_LONGEST, len(words) - at), 1, -1):
                several = words[at : at + length]
                role = ROLES.get(" ".join(word.text.lower() for word in several))
                if role is not None:
                    text = " ".join(word.text for word in several)
                    first = Word(role, text, first.start, several[-1].end)
                    taken = length
                    break
        if taken == 1 and first.text.lower() in _INTERJECTIONS and _is_interjection(words, at):
            first = first._replace(role=BUT)
        if first.text.lower() == "remains" and _ends_sentence(words, at + taken):
            first = first._replace(role=RIGHT)
        joined.append(first)
        at += taken
    return joined


def _is_interjection(words: list[Word], at: int) -> bool:
    """Return whether "no" at `at` takes back what was said: a clause begins, a comma follows."""
    before, after = words[at - 1] if at else None, words[at + 1] if at + 1 < len(words) else None
    starts = before is None or before.role in ".,;!?\n" or before.role == BUT
    return starts and after is not None and after.role in ",.:;!"


def _ends_sentence(words: list[Word], at: int) -> bool:
    return at == len(words) or words[at].role in ".,;!\n"
