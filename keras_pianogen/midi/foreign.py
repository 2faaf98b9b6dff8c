"""What a file is that isn't MIDI, told from its first bytes.

It knows the files that people give to a program for piano music by mistake.
"""

SOUND = "which is sound. Only a transcription of it has notes"
SCORE = "which is a score. A notation program exports it as MIDI"

# The place of some bytes in a file, these bytes, and what the file is.
SIGNS = (
    (8, b"WAVE", f"a WAV file, {SOUND}"),
    (8, b"AIFF", f"an AIFF file, {SOUND}"),
    (0, b"ID3", f"an MP3 file, {SOUND}"),
    (0, b"\xff\xfb", f"an MP3 file, {SOUND}"),
    (0, b"\xff\xf3", f"an MP3 file, {SOUND}"),
    (0, b"fLaC", f"a FLAC file, {SOUND}"),
    (0, b"OggS", f"an Ogg file, {SOUND}"),
    (4, b"ftyp", f"an MP4 file, {SOUND}"),
    (8, b"sfbk", "a SoundFont, which has the sounds of instruments, no notes"),
    (0, b"%PDF", "a PDF file, which has no notes that a program can play"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"\x93NUMPY", "a NumPy array. Load it, and pass the array"),
    (0, b"PK\x03\x04", f"a compressed MusicXML file, {SCORE}"),
    (0, b"\x1f\x8b", "a gzip archive. Unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive. Unpack it first"),
    (0, b"Rar!", "a RAR archive. Unpack it first"),
    (0, b"version https://git-lfs", "a pointer of Git LFS. Fetch the file"),
)
MUSICXML = b"<score-partwise", b"<score-timewise"


def describe(data: bytes) -> str | None:
    """What a file is, with an article, or `None` if it isn't known.

    Args:
        data: the file's bytes, or the first of them.

    Examples:
        >>> describe(b"%PDF-1.7")
        'a PDF file, which has no notes that a program can play'
    """
    if data[:4] == b"PK\x03\x04" and b"META-INF/" not in data[:200]:
        return "a ZIP archive. Unpack it first"
    for place, sign, words in SIGNS:
        if data[place : place + len(sign)] == sign:
            return words
    start = data[:2_000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if any(tag in start for tag in MUSICXML):
        return f"a MusicXML file, {SCORE}"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page. Download the file itself"
    return "an XML file" if start.startswith(b"<?xml") else None
