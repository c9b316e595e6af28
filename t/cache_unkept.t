# An endpoint whose tokens cannot be kept: every request is a login, which the
# log says, once for all workers.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 20;
use Token::Cache;
use Token::Endpoint;
use Token::Server;

my $silent = Token::Endpoint->new(expires_in => undef);
my $zero = Token::Endpoint->new(expires_in => 0);
my $brief = Token::Endpoint->new(expires_in => 1, delay => 1.2);
my $told = Token::Endpoint->new;

my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport',
    log_level => 'info',
    http => zone(),
    server => join('',
        location('silent', $silent->url('/token?secret=query')),
        location('tenant', $silent->url('/tenant'), 'token_proxy_cache_key "$arg_key"'),
        location('zero', $zero->url),
        location('brief', $brief->url),
        location('told', $told->url),
        location('set', $silent->url('/set'), 'token_proxy_cache_default_ttl 1h'),
        location('off', $silent->url('/off'), 'token_proxy_cache off')),
)->start;


# no lifetime
{
    my %pids;

    for (1 .. 20) {
        my $got = $nginx->get('/silent');

        is(status($got), 'MISS', 'no lifetime: each request is a login') if $_ == 20;
        $pids{ $got->{headers}{'x-pid'} }++;
    }

    my $line = 'token of "' . $silent->url . '" is not kept, every request is a '
        . 'call of the endpoint: the answer tells no lifetime, and '
        . '"token_proxy_cache_default_ttl" is not set';

    is($silent->calls, 20, '... twenty for twenty');
    is(scalar(keys %pids), 2, '... in two workers');
    like($nginx->error_log, qr/\[warn\].*\Q$line\E/, '... which the log says, and what to set');
    is(warnings(), 1, '... once');
    unlike($nginx->error_log, qr/secret=query/, '... without the query of the URL');

    $nginx->get("/tenant?key=$_") for 1 .. 10;
    is(warnings(), 1, '... and once for all tenants of an endpoint');

    $nginx->reload;
    $nginx->get('/silent') for 1 .. 5;
    is(warnings(), 1, '... which a reload does not change');
}


# no lifetime worth the name
{
    is(status($nginx->get('/zero')), 'MISS', 'a lifetime of zero') for 1 .. 2;
    like($nginx->error_log, qr/\[warn\].*\Q@{[ $zero->url ]}" is not kept, every request is a call of the endpoint: the answer tells no lifetime above zero/,
        '... is said in other words');
    is(warnings(), 2, '... once');
}


# a lifetime that is shorter than the call
{
    is(token($nginx->get('/brief')), 'AT-1', 'a token that comes after its end');
    like($nginx->error_log, qr/\[warn\].*\Q@{[ $brief->url ]}" is not kept, every request is a call of the endpoint: its lifetime has passed/,
        '... is said in other words');
    is(status($nginx->get('/brief')), 'MISS', '... and is not there');
}


# where a token is kept, or none is to be, there is nothing to say
{
    $nginx->get($_) for ('/set', '/told', '/off') x 3;

    is(status($nginx->get('/set')), 'HIT', 'token_proxy_cache_default_ttl');
    is(status($nginx->get('/told')), 'HIT', 'a lifetime');
    is(status($nginx->get('/off')), 'BYPASS', 'no cache');
    is(warnings(), 3, '... nothing in the log');
}

is(scalar(() = $nginx->error_log =~ /\[warn\]/g), 3, 'no other warning');
$nginx->stop;


sub warnings { return scalar(() = $nginx->error_log =~ /is not kept/g) }
