#!/usr/bin/env python3
"""Writes tests/golden/metrics.json: answers, references and their scores by the packages that papers quote.

    pip install sacrebleu==2.6.0 rouge-score==0.1.2
    scripts/make-metric-cases.py

BLEU and chrF are sacrebleu's with its defaults, over all cases and over each by itself; ROUGE-L is rouge-score's
F-measure without stemming; exact match and F1 are the functions of SQuAD's own evaluation script, copied below.
"""

import collections
import json
import pathlib
import re
import string

from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

# An answer and its reference. Written for this file.
CASES = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("the cat sits on a mat", "The cat sat on the mat."),
    ("A dog.", "The cat sat on the mat."),
    ("Wie heißt der größte See der Schweiz, und wo liegt er?", "Wie heisst der grösste See in der Schweiz und wo liegt er?"),
    ("Was macht der Doktor, wenn sein Körper tödlich verletzt ist?", "Was tut der Doktor, wenn sein Körper tödlich verwundet wird?"),
    ("It costs $1,234.50 (about 60% more) in 1990-95.", "It cost $1,234.5, about 60 % more, in 1990-1995."),
    ("Tom &amp; Jerry said: \"no\" - 3.5, or .5; not 5.", "Tom & Jerry said \"no\" -- 3.5 or 0.5, not 5."),
    ("line one\nline two-\nbroken", "line one line twobroken"),
    ("a,b.c,4.d 5,e -6 7-8 .9 10. 11,", "a, b. c, 4. d 5, e - 6 7 - 8 .9 10 . 11"),
    ("the the the the the the the", "the cat is on the mat"),
    ("an apple a day", "Apple; the day!"),
    ("The", "a"),
    ("King Bodawpaya", "King Bodawpaya turned west"),
    ("in 1710, the year", "1710"),
    ("the anthem", "then them"),
    ("one-stop shop", "\"one-stop shopping\""),
    ("日本語 の 文", "日本語の文章"),
    ("We propose a method that learns new classes while it shares part of the network, and forgets nothing.",
     "A method of growing a network to learn new classes while sharing part of the base network."),
    ("don't stop", "dont stop"),
    ("x", "y"),
    ("ab", "abcdefgh"),
    ("<b>bold</b> [1] {2} a/b a\\b c_d e^f ~g `h` i|j", "<b>bold</b> [1] {2} a / b a\\b c_d e ^ f ~g `h` i | j"),
]


def normalize_answer(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        return "".join(ch for ch in text if ch not in set(string.punctuation))

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1(answer, reference):
    answer, reference = normalize_answer(answer).split(), normalize_answer(reference).split()
    if not answer or not reference:
        return float(answer == reference)
    same = sum((collections.Counter(answer) & collections.Counter(reference)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(answer), same / len(reference)
    return 2 * precision * recall / (precision + recall)


def main():
    rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    cases = []
    for answer, reference in CASES:
        cases.append({
            "answer": answer,
            "reference": reference,
            "exact-match": 100.0 * (normalize_answer(answer) == normalize_answer(reference)),
            "f1": 100.0 * f1(answer, reference),
            "rouge-l": 100.0 * rouge.score(reference, answer)["rougeL"].fmeasure,
            "bleu": BLEU().corpus_score([answer], [[reference]]).score,
            "chrf": CHRF().corpus_score([answer], [[reference]]).score,
        })
    answers, references = zip(*CASES)
    corpus = {
        "bleu": BLEU().corpus_score(answers, [references]).score,
        "chrf": CHRF().corpus_score(answers, [references]).score,
    }
    path = pathlib.Path(__file__).parent.parent / "tests/golden/metrics.json"
    path.write_text(json.dumps({"corpus": corpus, "cases": cases}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
