# Sourced: reads .env, for the demo and for packaging/lambda.
# shellcheck shell=bash
#
# Values are as npm's dotenv reads them, but for two things. A "#" begins a
# comment only after a space, so that a bare secret may have one, as with
# python-dotenv and docker compose. And a value that libraries read in
# different ways, such as one whose quote is not closed, is an error.


# read_env_file FILE NAME...: sets these variables, unless they are set already.
# Nothing in FILE is executed.
read_env_file() {
    local LC_ALL=C file=$1 names='' name quote value rest number=0 start lines=()
    shift

    for name; do
        [[ -v $name ]] || names+=" $name "
    done

    mapfile -t lines < "$file"
    lines[0]=${lines[0]-}
    lines[0]=${lines[0]#$'\xEF\xBB\xBF'}

    while (( number < ${#lines[@]} )); do
        start=$(( ++number ))
        value=${lines[start - 1]%$'\r'}

        [[ $value =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z0-9_.-]+)([[:space:]]*=|:[[:space:]])[[:space:]]*(.*)$ ]] ||
            { env_line_without_value; continue; }

        name=${BASH_REMATCH[2]}
        value=${BASH_REMATCH[4]}
        quote=${value:0:1}

        case $quote in
            [\'\"\`])   env_quoted ;;
            *)          env_bare ;;
        esac

        [[ $names != *" $name "* ]] || printf -v "$name" %s "$value"
    done
}


# A bare value ends at a comment.
env_bare() {
    [[ $value == \#* ]] && value=
    [[ $value =~ [[:space:]]+\# ]] && value=${value%%"${BASH_REMATCH[0]}"*}
    value=${value%"${value##*[![:space:]]}"}
}


# A quoted value ends at the same quote, be it on a later line, unless there is
# a backslash before it. Only "\n" and "\r" between double quotes stand for
# something else.
env_quoted() {
    local whole=${value:1} inside='' before next=$number

    until [[ $whole == *"$quote"* ]] && env_closes; do
        if (( next == ${#lines[@]} )); then
            env_odd "its value begins with $quote and has no $quote at its end"
            return
        fi

        whole+=$'\n'${lines[next++]%$'\r'}
        inside=
    done

    if [[ ! $rest =~ ^[[:space:]]*(#.*)?$ ]]; then
        env_odd "there is something after its value in $quote"
        return
    fi

    number=$next
    value=$inside

    if [[ $quote == '"' ]]; then
        value=${value//\\n/$'\n'}
        value=${value//\\r/$'\r'}
    fi
}


# Sets inside and rest, what is before and after the quote that closes.
env_closes() {
    rest=$whole
    inside=

    while [[ $rest == *"$quote"* ]]; do
        before=${rest%%"$quote"*}
        rest=${rest#*"$quote"}
        inside+=$before
        [[ $before == *\\ ]] || return 0
        inside+=$quote
    done

    return 1
}


# Libraries take such a line as a bare value, quotes and all. For a name that
# is not asked for it does not matter.
env_odd() {
    [[ $names == *" $name "* ]] && fail "$file, line $start: $name: $1"
    return 0
}


env_line_without_value() {
    [[ $value =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z0-9_]+)([^A-Za-z0-9_.-].*)?$ &&
       $names == *" ${BASH_REMATCH[2]} "* ]] || return 0

    name=${BASH_REMATCH[2]}
    env_odd 'there is no "=" after its name'
}
