"""Text for the goldens' tokenizer: written for this purpose, many scripts.

The sentences only have to give a small unigram model pieces of every kind: whole words,
word parts, single characters of many scripts, emoji, digits and punctuation. Characters
that are absent here stay unknown to the model, which the tokenizer goldens rely on.
"""

import itertools

SUBJECTS = """a red balloon|a small boat|a white bird|an old car|a paper lantern|the full moon|a grey cat|two dogs
a lighthouse|a steam train|a dancer|a fisherman|a little girl|a robot|a glass of water|a field of poppies|the city
an astronaut|a herd of horses|a sailing ship|a campfire|a waterfall|a bicycle|three kites""".replace("\n", "|").split("|")
VERBS = """drifts over|floats above|moves slowly across|stands beside|runs through|glides along|waits near|turns around in
burns in front of|shines on|passes under|disappears behind|is reflected in|jumps over|swims in""".replace("\n", "|").split("|")
PLACES = """the calm sea|a snowy mountain|the empty desert|a crowded street at night|green hills|the old harbour
a wooden bridge|a forest of tall pines|the frozen lake|a field of yellow flowers|the skyline of a modern city
a quiet kitchen|the edge of a cliff|a narrow canyon""".replace("\n", "|").split("|")
STYLES = """at sunrise, soft golden light, cinematic|at dusk, long shadows, 35mm film grain|at noon, bright and sharp
at night, neon signs, heavy rain|in the morning fog, slow motion|wide shot, tracking camera, shallow depth of field
close-up, macro lens, highly detailed|drone footage, 4k, realistic|in the style of a watercolor painting
black and white, high contrast|the camera pans left, then holds still|stop-motion animation, felt and paper
handheld camera, documentary, natural colors""".replace("\n", "|").split("|")

LINES = """\
The camera follows the boat as it leaves the harbour; gulls circle above the mast and the water is almost still.
Bright tones, overexposed, static, blurred details, subtitles, overall gray, worst quality, low quality, extra fingers.
She doesn't look back: "It's over," he says, and the door closes.
Numbers 0 1 2 3 4 5 6 7 8 9 10 12 16 24 30 60 100 1000 2024 1920x1080 3.14 50% $5 #1 @home a+b=c x<y y>z [ok] {id} (yes) / \\ | ~ ^ _ * & !
A photographer's guide to light and shadow, part 2: reflections, refractions, caustics, haze, dust, rain and snow.
Un ballon rouge flotte au-dessus de la mer calme à l'aube, lumière dorée, très détaillé, où l'été s'achève déjà.
Le garçon naïf a reçu un cœur en cadeau à Noël; la fenêtre est ouverte et l'œuvre brûle.
Ein kleines Boot fährt langsam über den See, während die Sonne untergeht; schöne Straße, größere Häuser, Übermut.
Der Mann läuft durch den verschneiten Wald und hört plötzlich Geräusche hinter den Bäumen.
El niño corre por la playa al amanecer, ¿dónde está la cámara? ¡Mañana será otro día! Año nuevo, corazón.
Uma ave branca voa sobre as montanhas cobertas de neve, ao pôr do sol, coração e manhã não são iguais.
Una piccola barca attraversa il lago ghiacciato, perché la città è lontana e così più bella.
En röd ballong svävar över det lugna havet i gryningen, år för år, en älg på ön, smörgåsbord.
Den lille båten seiler forbi fyret, blåbær og fløte, ærlig talt, sjø og ånd.
Mały czerwony balon unosi się nad spokojnym morzem o świcie, żółta łódź, źródło, ćma, dąb, gęś.
Malý červený balón letí nad mořem, příliš žluťoučký kůň úpěl ďábelské ódy, něžná řeka.
Küçük bir tekne gün batımında yavaşça ilerliyor, güneş ışığı, çiçek, şehir, ağaç, İstanbul.
Egy kis hajó úszik a csendes tengeren, őszi erdő, fűszer, tűz, hó és köd.
Chiếc thuyền nhỏ trôi trên biển lặng lúc bình minh, ánh sáng vàng, những ngọn núi phủ tuyết.
Красный воздушный шар медленно летит над спокойным морем на рассвете, мягкий золотой свет.
Старый маяк стоит на краю обрыва, волны бьются о скалы, чайки кружат в небе, снег и туман.
Червона повітряна куля летить над морем, її світло м'яке, ґанок, євро, їжак.
Ένα μικρό καράβι πλέει στη ήρεμη θάλασσα την αυγή, χρυσό φως, παλιός φάρος, άγνωστος ουρανός.
בלון אדום מרחף מעל הים השקט בזריחה, אור זהוב ורך, ילד רץ על החוף, שלום עולם.
بالون أحمر يطفو فوق البحر الهادئ عند الفجر، ضوء ذهبي ناعم، قارب صغير قرب الميناء القديم، السلام عليكم.
یک قایق کوچک در غروب آفتاب آرام حرکت می‌کند، چراغ دریایی، پرنده، گل، ژرف، پنجره.
शांत समुद्र के ऊपर लाल गुब्बारा धीरे धीरे तैरता है, सुबह की सुनहरी रोशनी, नमस्ते दुनिया।
শান্ত সমুদ্রের উপর লাল বেলুন ভেসে যায়, সকালের সোনালি আলো।
அமைதியான கடலின் மேல் சிவப்பு பலூன் மிதக்கிறது, காலை ஒளி.
ลูกโป่งสีแดงลอยอยู่เหนือทะเลที่สงบในยามเช้า แสงสีทอง เรือเล็ก
红色的气球在平静的海面上缓缓飘过，清晨柔和的金色阳光，电影质感，细节丰富。
一只小船驶过古老的港口，灯塔在雾中若隐若现，海鸥在天空盘旋，远处是雪山。
色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量。
夜晚的城市街道，霓虹灯倒映在雨水中，行人撑着伞走过，镜头缓慢推进。
紅色的氣球飄過寧靜的海面，臺灣的燈籠節，龍與鳳，畫面細膩。
赤い風船が静かな海の上をゆっくりと漂っている、朝の柔らかい金色の光、映画のような映像。
古い灯台のそばに小さな船が止まり、カモメが空を飛ぶ。ネオンサインが雨にうつる。カメラはゆっくり左へ動く。
빨간 풍선이 잔잔한 바다 위를 천천히 떠다닌다, 새벽의 부드러운 금빛, 작은 배와 등대.
눈 덮인 산 위로 하얀 새가 날아간다, 느린 화면, 도시의 밤거리.
წითელი ბუშტი მიცურავს ზღვის თავზე. Կարմիր փուչիկը լողում է ծովի վրայ։
😀 😂 🎈 🎉 🌊 🌅 🚗 🐦 ⛵ 🌙 ❤️ 🔥 ✨ 👍 🙏 a cat 🐱 and a dog 🐶 in the rain 🌧️, family 👨‍👩‍👧, flag 🇩🇪 🇯🇵
Arrows → ← ↑ ↓, dashes – —, quotes “double” ‘single’ «guillemets» „low“, ellipsis …, bullet • , degree 20°C, euro 5€, pound £3, section §4, copyright ©
Fractions ½ ¼, superscript ², micro µm, times ×, plus-minus ±, trademark ™, number №5
""".splitlines()


WORDS = """sky cloud storm wind river ocean beach island valley garden flower tree leaf grass stone sand
mountain snow ice fire smoke dust light shadow color shape line circle square window door wall floor roof
street road bridge tower castle church market station train plane ship boat wagon wheel engine clock bell
table chair lamp candle mirror paper book letter picture frame camera lens film scene story dream music
song dance voice hand face head hair smile eye heart child woman man king queen friend stranger crowd
horse dog cat bird fish bear wolf fox deer rabbit mouse lion tiger elephant whale dolphin butterfly spider
apple bread water coffee sugar butter cake soup plate spoon knife glass bottle basket blanket jacket dress
shoe hat ring crown sword shield helmet rocket planet star moon sun earth space galaxy comet winter summer
spring autumn morning evening night minute hour year walk run jump climb swim fly fall turn open close
push pull carry throw catch break build paint draw write read listen look watch follow lead chase escape
whisper shout laugh cry sleep wake remember forget begin finish appear vanish grow shrink melt freeze
sparkle shimmer flicker glow bounce sway bob hover spin rotate zoom tilt slide wander gather scatter
bright dark soft hard warm cold wet dry clean dirty rough smooth sharp blurred quiet loud slow quick
ancient modern tiny giant narrow wide deep shallow heavy empty full broken golden silver purple orange
green yellow black white brown pink blue gentle fierce strange familiar beautiful ugly simple complex""".split()
SUFFIXES = ["", "s", "ing", "ed", "er", "ly", "ness", "less", "ful"]


def sentences():
    """Every training line, in a fixed order."""
    out = []
    grid = itertools.product(range(len(SUBJECTS)), range(len(VERBS)))
    for index, (s, v) in enumerate(grid):
        place = PLACES[(3 * s + 5 * v) % len(PLACES)]
        style = STYLES[(s + 7 * v) % len(STYLES)]
        out.append(f"{SUBJECTS[s][0].upper()}{SUBJECTS[s][1:]} {VERBS[v]} {place} {style}.")
        if index % 3 == 0:
            out.append(f"{style}: {place}, {SUBJECTS[s]} {VERBS[v]} {PLACES[(s + v) % len(PLACES)]}")
        if index % 9 == 0:
            out.append(LINES[(index // 9) % len(LINES)])
    for index in range(0, len(WORDS) * 4):
        pick = [WORDS[(index * k + 11 * k) % len(WORDS)] for k in (1, 7, 13, 29)]
        out.append(" ".join(w + SUFFIXES[(index + 2 * n) % len(SUFFIXES)] for n, w in enumerate(pick)))
    out.extend(LINES * 4)
    return out
