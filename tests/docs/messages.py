# SPDX-License-Identifier: MIT
"""Finds what the plug-in and its tools can say to a user, in the sources: warnings, errors and what is wrong with a file.

A message is a string literal at one of the SITES below, its parts that vary (printf conversions, values that are added) written
as "…". Fragments ("cut short") are messages of their own: they are what a line ends with, and what tells its cause.
"""

import re

# Where messages are made; the text of the call's arguments follows.
SITES = re.compile(r"\blog\((?:LogLevel::k(?:Warning|Error)|expected \?)|\bStatusCode::k(?!Ok\b)\w+ *[,:]|"
                   r"\b(?:bad|cannot|cannot_read|fail|failed|malformed|warn|kill_it|add_problem|leave_out_the_rest)\(|\bfprintf\(stderr,|\breturn \{kind,|\bkWhatFollows\[\] = |\bkReasonTexts = |\bkTargetReasonTexts = |"
                   r"\breturn line\.(?:problem|warning)\(")
LITERAL = re.compile(r'"((?:\\.|[^"\\])*)"')
CONVERSION = re.compile(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]")


def without_comments(text):
    token = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/'
    return re.sub(token, lambda found: found[0] if found[0][0] in "\"'" else " ", text, flags=re.S)


def arguments_at(text, start):
    """The rest of the call (or braces) that `start` lies in."""
    depth, at = 0, start
    while at < len(text):
        if text[at] == '"':
            at = LITERAL.match(text, at).end()
            continue
        if text[at] in "'":
            at = text.find("'", at + 2)
        elif text[at] in "({[":
            depth += 1
        elif text[at] in ")}];":
            depth -= 1
            if depth < 0 or text[at] == ";":
                break
        at += 1
    return text[start:at]


def messages_in(text):
    """The messages of one C++ file."""
    text = without_comments(text)
    messages = set()
    for site in SITES.finditer(text):
        arguments = re.sub(r'(?<=")\s*PRI\w+\s*(?=")|(?<=")\s*PRI\w+', " \"PRI\" ", arguments_at(text, site.end()))
        # Literals that follow each other are one; a value between two, joined by +, varies.
        joined = re.sub(r'"\s+"', "", arguments)
        joined = re.sub(r'"\s*\+\s*[^",;?]+?\s*\+\s*(?:format\()?"', "…", joined)
        for found in LITERAL.finditer(joined):
            message = found[1].replace('\\"', '"').replace("%PRI", "…").replace("PRI", "")
            message = re.sub(r"…+", "…", CONVERSION.sub("…", message).removesuffix("\\n")).strip(" :;")
            if re.search(r"[a-z].* |^[a-z]+ [a-zA-Z]+", message):
                messages.add(message)
    return messages


def messages_of_script(text):
    """What a shell script says before it gives up; a parameter's value varies."""
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    messages = set()
    for found in re.finditer(r'\bdie "((?:\\.|[^"\\])*)"', text):
        message = re.sub(r"\$\{[^}]*\}|\$\w+", "…", found[1].replace('\\"', '"'))
        messages.add(re.sub(r"…+", "…", message))
    return messages
