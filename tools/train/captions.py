"""Captions for drawn clips: synonyms, word order, short and long forms, parts left out."""
import numpy as np

OBJECT_WORDS = {
    "balloon": ("balloon", "balloon", "hot-air balloon", "hot air balloon"),
    "boat": ("boat", "boat", "sailboat", "sailing boat", "ship"),
    "bird": ("bird", "bird", "little bird", "songbird"),
    "car": ("car", "car", "small car", "toy car", "automobile"),
    "lantern": ("lantern", "lantern", "paper lantern", "lamp"),
    "kite": ("kite", "kite", "paper kite"),
    "moon": ("moon", "crescent moon", "crescent", "moon")}
COLOUR_WORDS = {
    "red": ("red", "red", "red", "bright red", "scarlet", "crimson"),
    "orange": ("orange", "orange", "orange", "bright orange", "amber"),
    "yellow": ("yellow", "yellow", "yellow", "golden", "bright yellow"),
    "green": ("green", "green", "green", "emerald", "bright green"),
    "blue": ("blue", "blue", "blue", "deep blue", "bright blue"),
    "purple": ("purple", "purple", "purple", "violet", "lilac"),
    "white": ("white", "white", "white", "pale", "bright white"),
    "pink": ("pink", "pink", "pink", "rose", "bright pink")}
SCENE_WORDS = {
    "sea": ("over the sea", "over the sea", "above the ocean", "at sea", "by the sea", "over calm water",
            "on the water", "over the waves", "on the ocean", "on the sea"),
    "hills": ("over the hills", "over green hills", "in the hills", "above rolling hills",
              "over the countryside", "among green meadows"),
    "desert": ("in the desert", "over the desert", "over sand dunes", "among the dunes", "above the desert"),
    "city": ("over the city", "above the city", "in the city", "above a town", "in front of a skyline",
             "over the rooftops"),
    "snow": ("over snowy mountains", "in the snow", "in the snowy mountains", "over the mountains",
             "above snowy peaks", "over the snow"),
    "forest": ("over the forest", "in the forest", "above the forest", "among pine trees", "in the woods",
               "over the trees")}
TIME_WORDS = {
    "day": ("by day", "at noon", "in daylight", "on a sunny day", "during the day", "at midday",
            "under a blue sky"),
    "sunset": ("at sunset", "at sunset", "in the evening", "at dusk", "in the evening glow"),
    "night": ("at night", "at night", "by night", "under the stars", "at midnight"),
    "dawn": ("at dawn", "at dawn", "at sunrise", "in the early morning", "at daybreak")}
MOTION_WORDS = {
    "bobbing": ("bobbing", "bobbing up and down", "rising and sinking", "bobbing gently",
                "floating up and down"),
    "swaying": ("swaying", "swinging", "rocking", "swaying from side to side", "swaying gently",
                "rocking to and fro"),
    "drifting": ("drifting", "drifting along", "travelling", "moving along", "drifting past",
                 "moving forward"),
    "panning": ("the camera pans slowly", "the camera pans left and right", "slow camera pan",
                "panning shot", "panning camera", "the camera panning"),
    "still": ("standing still", "still", "motionless", "at rest", "not moving", "resting quietly")}
TIME_ADJECTIVES = {"day": ("sunny", "daylight"), "sunset": ("evening", "sunset"),
                   "night": ("night", "starry"), "dawn": ("morning", "dawn")}
TAILS = ("", "", "", "", ", paper-cut style", ", soft light", ", flat design", ", beautiful",
         ", calm and quiet", ", wide shot", ", animation")


def _pick(rng, words):
    return words[int(rng.integers(len(words)))]


def _article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def plain(spec):
    """The canonical caption that names everything."""
    thing = _article(f"{spec.colour} {spec.object}")
    place = f"{SCENE_WORDS[spec.scene][0]} {TIME_WORDS[spec.time][0]}"
    if spec.motion == "panning":
        return f"{thing} {place}, the camera pans slowly"
    return f"{thing} {MOTION_WORDS[spec.motion][0]} {place}"


def caption(spec, rng, complete=False):
    """A random caption. Returns (text, the set of attributes that it names)."""
    keep = {name: complete or rng.random() > chance for name, chance in
            (("object", 0.03), ("colour", 0.07), ("scene", 0.10), ("time", 0.14), ("motion", 0.16))}
    thing = _pick(rng, OBJECT_WORDS[spec.object]) if keep["object"] else ""
    colour = _pick(rng, COLOUR_WORDS[spec.colour]) if keep["colour"] and keep["object"] else ""
    if not keep["object"]:
        keep["colour"] = False
    subject = f"{colour} {thing}".strip()
    if subject:
        subject = _pick(rng, (_article(subject), _article(subject), "the " + subject, subject))
    scene = _pick(rng, SCENE_WORDS[spec.scene]) if keep["scene"] else ""
    time = _pick(rng, TIME_WORDS[spec.time]) if keep["time"] else ""
    motion = _pick(rng, MOTION_WORDS[spec.motion]) if keep["motion"] else ""
    camera = spec.motion == "panning"
    form = int(rng.integers(6))
    if form == 0:
        words = [subject, "" if camera else motion, scene, time]
        text = " ".join(w for w in words if w) + (f", {motion}" if camera and motion else "")
    elif form == 1:
        text = ", ".join(w for w in (subject, scene, time, motion) if w)
    elif form == 2:
        head = " ".join(w for w in (time, scene) if w)
        text = ", ".join(w for w in (head, " ".join(w for w in (subject, "" if camera else motion) if w),
                                     motion if camera else "") if w)
    elif form == 3 and subject:
        verb = f" is {motion}" if motion and not camera else ""
        text = " ".join(w for w in (subject + verb, scene, time) if w)
        text += f". {motion}" if camera and motion else ""
    elif form == 4 and keep["time"] and keep["scene"]:
        view = _article(f"{_pick(rng, TIME_ADJECTIVES[spec.time])} scene")
        text = ", ".join(w for w in (f"{view} {scene}", subject, motion) if w)
    else:
        text = " ".join(w for w in (subject, scene, time) if w)
        if motion:
            text += f", {motion}"
    text = text.strip(" ,.")
    if text:
        text += _pick(rng, TAILS)
        if rng.random() < 0.3:
            text = text[0].upper() + text[1:] + "."
    return text, {name for name, kept in keep.items() if kept}


if __name__ == "__main__":
    import scenes
    generator = np.random.default_rng(1)
    for _ in range(20):
        print(caption(scenes.random_spec(generator), generator)[0])
