# Sourced: variables from .env in the working directory.
# shellcheck shell=bash

# read_env_file NAME...: the way dotenv reads it; what the environment has set
# stays.
read_env_file() {
    local LC_ALL=C names='' name line value

    for name; do
        [[ -v $name ]] || names+=${names:+|}$name
    done

    [[ $names && -f .env ]] || return 0

    while IFS= read -r line || [[ $line ]]; do
        line=${line#$'\xEF\xBB\xBF'}
        [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?($names)[[:space:]]*=[[:space:]]*(.*)$ ]] ||
            continue
        name=${BASH_REMATCH[2]}
        value=${BASH_REMATCH[3]}

        if [[ $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ||
              $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ ||
              $value =~ ^\`([^\`]*)\`[[:space:]]*(#.*)?$ ]]
        then
            value=${BASH_REMATCH[1]}
        else
            value=${value%%#*}
            value=${value%"${value##*[![:space:]]}"}
        fi

        printf -v "$name" %s "$value"
    done < .env
}
