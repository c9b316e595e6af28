#!/usr/bin/env bash
#
# Callers who all ask at once for a token that is not there, of two workers: one
# call of the endpoint, and the time from the first answer to the last, as the
# kernel has received them. Ends with 1 if there is another call, if one is not
# answered, or if that time is above LIMIT (150) milliseconds.
#
#     bench/stampede.sh [CALLERS]     # 10000

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

callers=${1:-10000}

prepare "${PERL_PACKAGES[@]}"

ulimit -n $(( callers + 1000 )) || fail "\"ulimit -n $(( callers + 1000 ))\" is refused"

machine
say

perl_with_tests - "$callers" "${LIMIT:-150}" << 'END'
use strict;
use warnings;
use Socket qw(IPPROTO_TCP);
use Time::HiRes qw(time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

use constant TCP_INFO => 11;

my ($callers, $limit) = @ARGV;
my $endpoint = Token::Endpoint->new(delay => 15);    # until all have asked

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport backlog=16384',
    connections => 2 * $callers,
    log_level => 'error',
    main => "worker_rlimit_nofile @{[ 2 * $callers + 500 ]};",
    http => zone() . "client_header_timeout 600s;\n",
    server => location('token', $endpoint->url, 'access_log off'),
)->start;

my $client = Token::Client->new($nginx->port);

# all are connected before the first one asks
my @sockets = map { Token::Client::connection($nginx->port) // die "connect: $!\n" }
    1 .. $callers;

for my $socket (@sockets) {
    syswrite $socket, Token::Client::ask('/token', 'keep-alive');
    push @{ $client->{sent} }, { socket => $socket, bytes => '', sent => time };
}

# A client that reads takes CPU time from the workers. This one waits, and then
# asks the kernel when the answers came: Linux's tcpi_last_data_recv.
wait_for { $endpoint->calls } 10;
sleep 20;

my @times = sort { $a <=> $b } map {
    time - unpack('x52 L', getsockopt($_, IPPROTO_TCP, TCP_INFO)) / 1000
} @sockets;
my $took = 1000 * ($times[-1] - $times[0]);

shutdown $_, 1 for @sockets;    # so that nginx closes connections that it keeps

my @got = grep { ($_->{status} // 0) == 200 && token($_) } $client->receive(60);

$nginx->stop('QUIT');

printf "| callers | answered | calls | first to last, ms |\n|---|---|---|---|\n";
printf "| %d | %d | %d | %.0f |\n", $callers, scalar(@got), $endpoint->calls, $took;

exit(@got == $callers && $endpoint->calls == 1 && $took <= $limit ? 0 : 1);
END
