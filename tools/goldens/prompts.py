"""The prompts of the tokenizer goldens, in groups, and the alternative unknown id."""

import corpus

CUT = "\x1b"

PLAIN = """\
A red balloon drifts over the calm sea at sunrise.
a cat
A
the
CINEMATIC SHOT OF A DANCER IN THE RAIN
A photographer's guide to light and shadow, part 2: reflections & refractions
"It's over," he says, and the door closes.
1920x1080, 24 fps, 3.14159, 50% grey, $5, #1, @home, a+b=c, x<y, y>z
supercalifragilisticexpialidocious antidisestablishmentarianism
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
no.spaces,after;punctuation:at/all!really?yes(really)[ok]{fine}
snake_case camelCase kebab-case UPPER_CASE dotted.name path/to/file.txt C:\\Users\\x
https://example.org/watch?v=abc&t=10#frag
user@example.org wrote: see attached
-- dashes -- and --more--
...
!!!???!!!
()[]{}<>
<html><body>not a tag</body></html>
a < b and c > d
1 2 3 4 5 6 7 8 9 10 11 12 13
3:45pm, 12/31/1999, 2024-02-29T23:59:60Z
'single' "double" `backtick`
\\n \\t \\u0041 are not escapes here
%s %d %n {} {0} $HOME ${HOME} $(reboot) `id`
'; DROP TABLE prompts; --
../../etc/passwd
NULL nil None undefined NaN inf -0 1e400
true false yes no on off
the quick brown fox jumps over the lazy dog
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG
tHe QuIcK bRoWn FoX
waltz, bad nymph, for quick jigs vex
soft golden light, cinematic, 35mm film grain, shallow depth of field, 4k, masterpiece
(masterpiece:1.2), [blurry], {detailed|rough}, <lora:style:0.8>
camera pans left; then tilts up; then holds still for 5 s
Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images""".split("\n")

SPACES = ["", " ", "   ", "\t", "\n", "\r\n", "\t \n \r\n \t", "\u00a0", "\u3000", "\u2003\u2002\u2009\u200a",
          "\u200b", "\u200b\u200c\u200d\ufeff", "\u2028\u2029", "\x0b\x0c", "\x1c\x1d\x1e\x1f", "\x85", "\u1680",
          "\u180e", "\u2060", "\u00ad", "\u202e\u202c",
          "  two  spaces  inside  and  around  ", "tab\tseparated\tvalues", "line one\nline two\n\nline four",
          "windows\r\nline\r\nends", "old mac\rline\rends", "non\u00a0breaking\u00a0space", "thin\u2009space\u2009and\u200ahair",
          "ideographic\u3000space", "zero\u200bwidth\u200bspace", "zero\u200dwidth\u200djoiner", "word\u2060joiner",
          "soft\u00adhyphen", "byte\ufefforder mark", "\ufeffleading mark", "line\u2028separator\u2029paragraph",
          "vertical\x0btab and form\x0cfeed", "file\x1cgroup\x1drecord\x1eunit\x1fseparators", "next\x85line",
          "ogham\u1680space", "mongolian\u180evowel separator", "figure\u2007space narrow\u202fnbsp math\u205fspace",
          "trailing space ", " leading space", "\n\nleading newlines", "trailing newlines\n\n", "a \u200b b", "a\u00a0 \u00a0b",
          "a \u00ad b", "\u200b leading zero width", "trailing zero width \u200b", "hangul\u3164filler\uffa0half\u115ffiller"]

SCRIPTS = corpus.LINES + [
    "混合 English と 日本語 и русский و العربية 한국어", "猫cat猫", "東京tower高さ333m", "𠮷野家で𩸽を食べる", "龘靐齉爩",
    "々〆〇ヶ〻", "「かぎ」『二重』【隅付き】〔亀甲〕", "！？，。；：（）［］", "ＡＢＣ　ＤＥＦ　１２３　！＂＃＄％＆", "ｱｲｳｴｵ ｶﾞｷﾞｸﾞ ﾊﾟﾋﾟﾌﾟ",
    "ｈｔｔｐｓ：／／ｅｘａｍｐｌｅ", "㍿㌔㌢㍑㊙㊗㋿", "①②③⑩⑳㉑㊿", "ⅠⅡⅢⅳⅴⅿ", "½⅓¼¾⅞", "x²+y³=z⁴ H₂O CO₂", "ﬁne ﬂow oﬀer eﬃcient baﬄe ﬅop",
    "Ǆ ǅ ǆ Ǉ ŉ ſ ẛ", "™ ℠ © ® ℗ № ℡ ℻", "Å Ω K ℃ ℉ µ ℓ", "𝐁𝐨𝐥𝐝 𝑖𝑡𝑎𝑙𝑖𝑐 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 𝕕𝕠𝕦𝕓𝕝𝕖 𝟙𝟚𝟛", "ⓐⓑⓒ 🅐🅑 🄰🄱 ⒜⒝",
    "e\u0301 a\u0300 o\u0308 n\u0303 c\u0327", "\u0301leading mark", "a\u0301\u0302\u0303\u0304\u0305 stacked", "Z\u0351\u036b\u0343a\u0323\u0321l\u0322g\u030ao\u033a",
    "q\u0307\u0323 and q\u0323\u0307", "d\u0323\u0307 \u1e0b\u0323 \u1e0d\u0307", "A\u030a \u00c5 \u212b", "\u1100\u1161\u11a8 \u1102\u1161 각나",
    "क्षत्रिय श्री ज़ क़", "த்தி கொடு", "ক্ষ ড় ঢ় য়", "กำลัง น้ำ เก่า", "ພາສາລາວ ນ້ຳ", "ខ្មែរ", "မြန်မာ", "བོད་ཡིག", "አማርኛ", "ᏣᎳᎩ", "ᚠᚢᚦᚨᚱᚲ", "𓀀𓀁𓂀", "𒀀𒁀",
    "لا إله الا ﷲ ﷺ ﻻ ﻼ", "ﺍﻟﻌﺮﺑﻴﺔ", "العَرَبِيَّة مُشَكَّلة", "١٢٣٤٥٦٧٨٩٠ ۱۲۳۴", "نیم‌فاصله می‌شود", "שָׁלוֹם עוֹלָם", "יִשְׂרָאֵל ﬤﬡ", "\u202bעברית\u202c mixed \u202aLTR\u202c",
    "\u200fright mark\u200e left mark", "İstanbul ıssız İ̇", "ΣΊΣΥΦΟΣ ς σ", "ﬗ և եւ", "Ꙁемлѧ ѿ", "Ħ ħ Ł ł Ø ø Ð ð Þ þ Æ æ Œ œ ẞ ß", "ĳ Ĳ ŀ Ŀ",
    "—–‒―‐‑−-", "‘single’ “double” ‚low‛ „low‟", "‹a› «b» 〈c〉 《d》", "…‥․ · • ‧", "′ ″ ‴ ⁗", "⁄ ∕ ÷ ×", "♠♥♦♣ ♪♫ ☀☁☂ ★☆ ✓✗", "░▒▓█ ┌─┐│└┘ ╔═╗",
    "∀x∈ℝ: ⌈x⌉ ≥ x ∧ ∃y≠∅", "∫∬∭ ∑∏ √∛ ∞ ≈ ≤ ≥", "→←↑↓ ⇒⇔ ↦ ⟶", "₿ € £ ¥ ₹ ₽ ₩ ¢", "\ue000\uf8ff private use", "\ufffd replacement \ufffc object",
    "\ufdd0\ufffe\uffff noncharacters", "\U000e0001\U000e0041 tags", "\U0010ffff end", "\u0378\u0530 unassigned",
    "▁ lower block ▁▁ twice", "a▁b", "▁", "▁▁▁", "x ▁ y", "▁leading", "trailing▁"]

EMOJI = ["😀", "😀😃😄😁", "a 🎈 b", "🎈🎉", "❤", "❤️", "❤️‍🔥", "👍🏽", "👋🏻👋🏿", "👨‍👩‍👧‍👦", "👩🏾‍🚀 floats", "🏳️‍🌈 🏴‍☠️", "🇩🇪🇯🇵🇫🇷", "🇩", "1️⃣ 2️⃣ #️⃣ *️⃣",
         "🏴󠁧󠁢󠁥󠁮󠁧󠁿 flag", "🐱 and 🐶 in the 🌧️", "text😀without😀spaces", "☺︎ text ☺️ emoji", "🫠🫡🪿🫨", "🤷🏽‍♀️", "👁️‍🗨️", "🧑‍🤝‍🧑", "⌚️⏰☎️", "🅰️🆎🆗", "🈁🈚🈲", "㊗️㊙️",
         "© ©️ ™️", "🎈\u200b🎈", "🎈 🎈  🎈", "\U0001f3fb alone", "\u200d joiner first", "\ufe0f selector first", "🀄🃏", "🛩️✈", "(╯°□°)╯︵ ┻━┻", "¯\\_(ツ)_/¯", "ʕ•ᴥ•ʔ", "( ͡° ͜ʖ ͡°)"]

CONTROLS = ["null\x00byte", "\x00", "bell\x07 back\x08space", "a\x01b\x02c\x03d\x04e", "delete\x7f", f"{CUT}[31mred{CUT}[0m text",
            f"{CUT}[2J{CUT}[H cleared", f"{CUT}]0;title\x07 osc", f"{CUT}]8;;http://x{CUT}\\link{CUT}]8;;{CUT}\\", f"{CUT}[1;31;40m bold {CUT}[K", f"{CUT}", f"{CUT}[",
            "c1 \x80\x81\x8d\x8f\x90\x9d controls", "\x9b31m csi", "interlinear \ufff9a\ufffab\ufffb", "\x0e\x0f shift", "mixed\x00\x1b\x7f\x9f end",
            "\u061c\u2066\u2067\u2068\u2069 isolates", "\u206a\u206b\u206c deprecated", "\u0085\u0085", "a\x00\x00\x00b", "\x1a end of file", "\r", "\b\b\b"]

HTML = ["&amp;", "&lt;b&gt;bold&lt;/b&gt;", "fish &amp; chips", "fish &amp;amp; chips", "fish &amp;amp;amp; chips", "&quot;quoted&quot; &apos;single&apos;", "&#65;&#66;&#67;",
        "&#x41;&#X42;", "&#128512;", "&#x1F600; smile", "&#0;", "&#xD800;", "&#x110000;", "&#99999999999;", "&#128;&#147;&#148;", "&#1;&#11;&#127;", "&nbsp;a&nbsp;b&nbsp;", "&copy &reg &trade",
        "&notit; &notin; &not", "&ampamp;", "&amp", "&ltb&gt", "&;", "&#;", "&#x;", "&#xg;", "&unknown;", "& amp;", "&AMP; &LT; &GT;", "&Aacute;&eacute;&szlig;&Ouml;", "&eacutex", "&CounterClockwiseContourIntegral;",
        "&acE;&NotEqualTilde;", "&fjlig; &ThickSpace;x", "&lt;script&gt;alert(1)&lt;/script&gt;", "a&nbsp;&nbsp;b", "&#32;&#32;x&#32;", "&#10;line&#13;", "&zwj;&zwnj;&shy;", "&hellip;&mdash;&ndash;", "&ldquo;x&rdquo; &lsquo;y&rsquo;",
        "AT&T R&D Q&A", "?a=1&b=2&copy=3&lt=4", "&amp;lt;tag&amp;gt;", "&amp;#65; &amp;#x263a;", "&lt;/s&gt;", "&lt;pad&gt; &lt;extra_id_0&gt;", "&amp;nbsp;", "&#38;amp;", "&#x26;lt;", "&hearts; &alpha;&beta;&Omega;", "&frac12; &sup2; &micro;",
        "&#8203;zero&#8203;", "&#xFEFF;bom", "&#160;nbsp&#160;", "&Zcaron; &#158; &#142;", "&prod; &sum;&Sum", "x&lty", "x &lt y"]

MOJIBAKE = ["schÃ¶n", "â€œquotedâ€\x9d", "â€œquotedâ€", "itâ€™s", "donâ€™t panicâ€¦", "cafÃ©", "naÃ¯ve rÃ©sumÃ©", "Ã¼ber StraÃŸe", "â€” dash â€“", "l'humanitÃ©", "Ã©tÃ© Ã  la mer", "âœ” No problems",
            "ðŸ˜€ smile", "ðŸŽˆ balloon", "æ—¥æœ¬èªž", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "ä¸­æ–‡", "Â£5 Â© 2024", "10Â°C", "Â½ cup", "Ãƒ\xa9", "schÃƒÂ¶n", "The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.", "&Atilde;&copy;",
            "caf\u00c3\u00a9 & na\u00efve", "l\u00e2\u20ac\u2122ombre", "\x93quoted\x94", "it\x92s", "\x85 ellipsis", "Ã", "Â", "â€", "ÃÂ", "voilÃ  le travail", "Ã\xa0 demain", "ÐŸÑ€Ð¾Ñ",
            "¡Â¿QuÃ©?", "MÃ¶tley CrÃ¼e", "BrontÃ«", "ï¿½", "ï»¿bom first", "Å‚Ã³dÅº", "ÄŒeskÃ¡", "Î•Î»Î»Î¬Î´Î±", "×©×œ×•×", "Ø§Ù„Ø¨Ø­Ø±", "í•œêµ­ì–´", "a â‚¬5 note", "vs. Ã¢â‚¬Å“ok", "uÌˆ combining", "à¤¨à¤®à¤¸à¥à¤¤à¥‡",
            "fi\ufb01 ﬂ ligatures with ﬁxes", "“curly” ‘quotes’ and ’apostrophe’", "´acute´ `grave`", "\u2018a\u2019 \u201ab\u201b", "ＬＯＵＤ　ＮＯＩＳＥＳ", "\u0133 \u01c6 digraphs", "o\u0308 decomposed", "\ud7ff\ue000", "\x1b[36;44mterminal\x1b[0m ﬀ",
            "P&EACUTE;REZ", "broken &lt;em&gt; Ã©", "<b>kept &lt; because</b> of tags &amp;", "< &eacute; >", "&eacute; <"]

SPECIAL = ["</s>", "<pad>", "<s>", "<unk>", "<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "a </s> b", "a</s>b", "</s></s></s>", "<pad><pad> x", "x <extra_id_0>y<extra_id_1> z", "<EXTRA_ID_0>", "< /s>", "</s", "/s>",
           "<0x41>", "<0x00>", "a<0x0A>b", "<0x41><0x42>", "x <0xFF> y", "<unk><unk>", "<unk> ☃ <unk>", "text </s>", "</s> text", " </s> ", "ﬁ</s>ﬁ", "<s>hello</s>", "hello <s> world", "＜/s＞", "＜pad＞", "<pad >", "\u200b</s>\u200b", "<extra_id_0 >",
           "<ex\u00adtra_id_0>", "<mask> [MASK] [CLS] [SEP] <|endoftext|> <bos> <eos>", "<extra_id_1><extra_id_0><extra_id_01>"]

UNKNOWN = ["☃", "☃☃", "☃ ☃", "a☃b", "☃a☃", "☃ a", "a ☃", "ꙮ", "☃鑫☃", "鑫鑫", "鑫 鑫", "a鑫b鑫c", "🫠", "red 🦑 squid", "ꯀꯁꯂ", "𝄞 clef", "☃\u0301", "鑫▁鑫", "ⵣ ⵥ", "x\u0f00y"]


def long_prompts():
    grid = [f"{s} {v} {p}" for s in corpus.SUBJECTS for v, p in zip(corpus.VERBS, corpus.PLACES)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [" ".join(grid), ", ".join(corpus.LINES), "a " * 511, "a " * 512, "a " * 513, "a " * 510, "☃ " * 300, "☃" * 2000, "鑫a" * 600,
            "the calm sea " * 400, "x" * 3000, letters * 60, "。".join(corpus.LINES[-12:]) * 6, "\n".join(grid[:90]), "&amp;" * 700,
            "é" * 600, "e\u0301" * 600, "👨‍👩‍👧" * 200, "</s>" * 600, "<extra_id_5> " * 300, "schÃ¶n " * 250, "0123456789" * 120, "-" * 1500, "中文字幕" * 200,
            "word " * 509 + "end</s>", ". " * 700, "I" * 513, ("ab " * 170) + "☃"]


def all_prompts():
    """(group, prompt), in a fixed order, each prompt once."""
    groups = [("plain", PLAIN), ("spaces", SPACES), ("scripts", SCRIPTS), ("emoji", EMOJI), ("controls", CONTROLS),
              ("html", HTML), ("mojibake", MOJIBAKE), ("special", SPECIAL), ("unknown", UNKNOWN), ("long", long_prompts())]
    seen = set()
    for group, texts in groups:
        for text in texts:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if text not in seen:
                seen.add(text)
                yield group, text


def ids_with_unk(tokenizer, cleaned, count_max):
    """The same ids with unknown text as <unk> of the sentencepiece model.

    transformers 5 builds the unigram model of every T5 tokenizer with unknown id 2, which in UMT5's
    vocabulary is <s>; earlier versions and the sentencepiece model say 3. Only a literal "<s>" in
    the text is really 2, so the text is encoded again with the id taken from the model file.
    """
    import json

    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "unk3_backend", None)
    if backend is None:
        values = json.loads(tokenizer.backend_tokenizer.to_str())
        values["model"]["unk_id"] = tokenizer.unk_token_id
        values["truncation"] = values["padding"] = None
        backend = tokenizer.unk3_backend = Tokenizer.from_str(json.dumps(values))
    backend.enable_truncation(count_max)
    return backend.encode(cleaned).ids
