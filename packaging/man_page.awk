# SPDX-License-Identifier: MIT
# man_page.awk - makes a manual page, for troff, of what a program says when it is asked for --help; man_page.sh runs it.
#
#   awk -v name=NAME -v summary=TEXT -v version=TEXT -f man_page.awk FILE...
#
# The first FILE is the help of the program. Each other one is that of a subcommand and is called NAME-SUBCOMMAND. Two layouts are
# known. CLI11's has a description, a line "Usage:", and sections with two columns. Our scripts' has a line "NAME OPTIONS - TEXT" and
# a description. The page has no date: the same help gives the same bytes.

# Characters that troff takes for its own.
function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    sub(/^['.]/, "\\\\\\&&", text)
    return text
}

function heading(text) { print ".SH " toupper(text) }

# A line of two columns: the option, and what is said about it, which goes on in the lines below. CLI11 fills the first column with
# spaces up to 30 characters. An option that is longer has a line of its own, which may have a space there by chance; then all that
# is said stands below, and `follows` is 1.
function row(line, follows, said) {
    if (substr(line, 30, 1) == " " && !(follows && substr(line, 29, 1) != " ")) said = substr(line, 31)
    if (said != "") line = substr(line, 1, 30)
    gsub(/^ +| +$/, "", line)
    print ".TP"
    print "\\fB" escape(line) "\\fR"
    if (said != "") print escape(said)
}

# A row is written when the line after it is known.
function end_row(follows) {
    if (pending != "") row(pending, follows)
    pending = ""
}

function usage(text) {
    print ".PP"
    print "Usage: \\fB" escape(text) "\\fR"
}

{ end_row(section != "" && /^                              [^ ]/) }
END { end_row(0) }

FNR == 1 {
    subcommand = FILENAME
    sub(/.*\//, "", subcommand)
    subcommand = subcommand == name ? "" : substr(subcommand, length(name) + 2)
    section = ""
    if (subcommand != "") {
        heading("Subcommand " subcommand)
    } else {
        print ".TH " toupper(escape(name)) " 1 \"\" \"" escape(version) "\" \"User Commands\""
        heading("Name")
        print escape(name) " \\- " escape(summary)
        heading("Description")
    }
}

FNR == 1 && index($0, name " ") == 1 && match($0, / - /) {
    usage(substr($0, 1, RSTART - 1))
    print ".PP"
    print escape(substr($0, RSTART + 3))
    next
}

/^Usage: / { usage(substr($0, 8)); next }

/^[A-Z][A-Za-z ]*:$/ {
    section = $0 == "Positionals:" ? "Arguments" : substr($0, 1, length($0) - 1)
    if (subcommand == "") heading(section)
    else print ".SS " section
    next
}

/^$/ {
    print ".PP"
    next
}

# In a section: a new row, or more about the last one.
section != "" && /^  ?[^ ]/ { pending = $0; next }
section != "" { sub(/^ +/, ""); print escape($0); next }

# Before the sections, what is indented keeps its lines.
/^ / {
    print ".nf"
    print escape($0)
    print ".fi"
    next
}

{ print escape($0) }
