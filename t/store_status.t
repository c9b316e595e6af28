# What an operator sees of the store that machines share.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 27;
use JSON::PP qw(decode_json);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(spew wait_for work_dir);

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;
my $fleet = Token::Fleet->new(
    machines => 2,
    store => $store->url . $PATIENT,
    http => 'token_proxy_cache_zone zone=alone:1m store=off;',
    server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"')
        . 'location = /status { token_proxy_status; access_log off; }',
)->start;


# of the zone, at a machine
sub seen {
    my ($machine) = @_;

    return decode_json($fleet->get($machine, '/status')->{content})->{zones}{tokens}{store};
}


# the metrics, as text
sub metrics {
    my ($machine) = @_;

    return $fleet->get($machine, '/status', Accept => 'text/plain')->{content};
}


ok((wait_for { seen(0)->{state} eq 'up' } 10), 'the store is up, though nobody asked yet');
is(seen(0)->{commands}, 0, '... no command');
is(seen(0)->{tokens_taken}, 0, '... no token');

$fleet->get(0, '/token');

ok((wait_for { seen(0)->{commands} == 2 } 5), 'a machine has fetched a token: two commands');
is(seen(0)->{tokens_taken}, 0, '... it has taken none');
$fleet->get(1, '/token');
ok((wait_for { seen(1)->{commands} == 1 } 5), '... another one has sent one');
is(seen(1)->{tokens_taken}, 1, '... and has taken the token');
is(seen(1)->{errors}, 0, '... nothing was wrong');
cmp_ok(seen(1)->{command_seconds}, '>', 0, '... and it took a while');
is($endpoint->calls, 1, '... of one call');

my $status = decode_json($fleet->get(1, '/status')->{content})->{zones};

ok(!exists $status->{alone}{store}, 'a zone without the store has none');
is((values %{ $status->{tokens}{endpoints} })[0]{fetches}{ok}, 0,
    'a token of another machine is no call of the endpoint');

my $text = metrics(1);

like($text, qr/^token_proxy_store_up\{zone="tokens"\} 1$/m, 'metrics: it is up');
like($text, qr/^token_proxy_store_commands_total\{zone="tokens"\} 1$/m, '... commands');
like($text, qr/^token_proxy_store_errors_total\{zone="tokens"\} 0$/m, '... errors');
like($text, qr/^token_proxy_store_tokens_taken_total\{zone="tokens"\} 1$/m, '... tokens');
like($text, qr/^token_proxy_store_command_duration_seconds_bucket\{zone="tokens",le="\+Inf"\} 1$/m,
    '... how long commands took');
like($text, qr/^token_proxy_store_command_duration_seconds_bucket\{zone="tokens",le="0.000250"\} [01]$/m,
    '... in short times as well');
unlike($text, qr/^token_proxy_store_\w+\{zone="alone"/m, '... of a zone that has it');

SKIP: {
    skip('no promtool', 1) if !grep { -x "$_/promtool" } split /:/, $ENV{PATH};

    my $file = work_dir() . '/metrics';

    spew($file, $text);
    is(`promtool check metrics < '$file' 2>&1`, '', '... as Prometheus wants them');
}

$store->kill;

my $got = $fleet->get(0, '/token?key=down');

is($got->{status}, 200, 'it is killed: a caller is answered');
ok((wait_for { seen(0)->{state} eq 'down' } 10), '... and it is down');
cmp_ok(seen(0)->{command_seconds}, '<', 5, '... and no time of a command that was not sent');
like(metrics(0), qr/^token_proxy_store_up\{zone="tokens"\} 0$/m, '... in the metrics, too');

$store->empty->start;

ok((wait_for { seen(0)->{state} eq 'up' } 10), '... until it is back');
ok((wait_for { seen(1)->{state} eq 'up' } 10), '... for each machine');
is(scalar(grep { /is used again/ } map { split /\n/, $_->error_log } ($fleet->machines)[0]), 1,
    '... one line of it');
