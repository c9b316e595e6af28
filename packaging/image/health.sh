#!/bin/bash
#
# The image's health check: whether nginx answers with the module's status.

set -euo pipefail

exec 3<> "/dev/tcp/127.0.0.1/${STATUS_PORT:-8081}"
printf 'GET /status HTTP/1.0\r\n\r\n' >&3
IFS= read -r -t 3 line <&3

[[ $line == 'HTTP/1.1 200 '* ]]
