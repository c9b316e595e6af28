#!/usr/bin/env bash
#
# Callers who all ask at once for a token that is not there, of two workers: one
# call of the endpoint, and the time from the first answer to the last, as the
# kernel has received them. Beside it the same for "return 200" with the same
# body, where all requests wait for the workers. Ends with 1 if there is another
# call, if one is not answered, or if the median of the ratios of both times is
# above LIMIT (1.25).
#
#     bench/stampede.sh [CALLERS [ROUNDS]]     # 10000, 5

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

callers=${1:-10000}
rounds=${2:-5}

prepare "${PERL_PACKAGES[@]}"

ulimit -n $(( callers + 1000 )) || fail "\"ulimit -n $(( callers + 1000 ))\" is refused"

machine
say

perl_with_tests - "$callers" "$rounds" "${LIMIT:-1.25}" << 'END'
use strict;
use warnings;
use Socket qw(IPPROTO_TCP);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(wait_for);

use constant { TCP_INFO => 11, DELAY => 12 };

my ($callers, $rounds, $limit) = @ARGV;
my $members = '"access_token":"AT-1","refresh_token":"RT-1"';
my $wrong = 0;
my @ratios;

# Milliseconds from the first answer to the last, for a location that is asked
# by all at once; the endpoint is undef for that with "return 200".
sub burst {
    my ($endpoint) = @_;
    my $answer = $endpoint
        ? location('token', $endpoint->url, 'access_log off')
        : 'location = /token { access_log off; default_type application/json; '
            . "add_header Cache-Control no-store; return 200 '{$members}'; }";

    my $nginx = Token::Server->new(
        workers => 2,
        listen => 'reuseport backlog=16384',
        connections => 2 * $callers,
        log_level => 'error',
        main => "worker_rlimit_nofile @{[ 2 * $callers + 500 ]};",
        http => zone() =~ s/add_header.*//gr . "client_header_timeout 600s;\n",
        server => $answer,
    )->start;
    my @workers = $nginx->workers;
    my $client = Token::Client->new($nginx->port);

    # all are connected before the first one asks
    my @sockets = map { Token::Client::connection($nginx->port)
        // die "connect: $!\n" } 1 .. $callers;

    sleep 1;
    kill STOP => @workers if !$endpoint;

    for my $socket (@sockets) {
        syswrite $socket, Token::Client::ask('/token', 'keep-alive');
        push @{ $client->{sent} },
            { socket => $socket, bytes => '', sent => time };
    }

    # A client that reads takes CPU time from the workers. This one waits, and
    # then asks the kernel when the answers came: Linux's tcpi_last_data_recv.
    wait_for { $endpoint->calls } 10 if $endpoint;
    kill CONT => @workers;
    sleep(5 + ($endpoint ? DELAY : 0));

    my @times = sort { $a <=> $b } map {
        time - unpack('x52 L', getsockopt($_, IPPROTO_TCP, TCP_INFO)) / 1000
    } @sockets;

    shutdown $_, 1 for @sockets;    # so that nginx closes what it keeps

    my @got = grep { ($_->{status} // 0) == 200 && token($_) }
        $client->receive(60);

    $nginx->stop('QUIT');
    $wrong++ if @got != $callers;
    return 1000 * ($times[-1] - $times[0]);
}

print "| callers | return 200, ms | token, ms | ratio |\n|---|---|---|---|\n";

for (1 .. $rounds) {
    my $endpoint = Token::Endpoint->new(delay => DELAY);    # until all have asked
    my ($plain, $token) = (burst(), burst($endpoint));

    $wrong++ if $endpoint->calls != 1;
    push @ratios, $token / $plain;
    printf "| %d | %.0f | %.0f | %.2f |\n", $callers, $plain, $token, $ratios[-1];
}

my $median = (sort { $a <=> $b } @ratios)[$#ratios / 2];

printf "\nThe median of the ratios is %.2f.%s\n", $median,
    $wrong ? ' A call or an answer is wrong.' : '';

exit($wrong || $median > $limit ? 1 : 0);
END
