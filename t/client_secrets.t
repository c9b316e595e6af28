# Two secrets of a client: one of them is on its way out, or not valid yet.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 67;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for work_dir);

my $endpoint = Token::Endpoint->new;
my $host = '127.0.0.1:' . $endpoint->port;
my $dir = work_dir();


sub server {
    my ($locations, %options) = @_;

    $endpoint->reset;

    return Token::Server->new(%options,
        http => zone() . ($options{more} // '') . 'token_proxy_retry_backoff 1s 1s;',
        server => 'location = /status { token_proxy_status; }'
            . join '', map { location($_->[0], $endpoint->url, @$_[1 .. $#$_]) }
            @$locations)->start;
}


# The secrets that came to the endpoint, in order.
sub sent {
    return map {
        my ($basic) = /^Authorization: Basic (\S+)/m;
        my ($form) = /client_secret=([^&]*)/;
        defined $basic ? decode_base64($basic) =~ s/^.*?://r : $form;
    } $endpoint->requests;
}


sub counts {
    my ($nginx) = @_;
    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{tokens};

    return $zone->{endpoints}{$host};
}


# The calls of these requests, and that their statuses are right.
sub calls {
    my ($nginx, @paths) = @_;
    my $before = $endpoint->calls;

    for my $path (@paths) {
        is($nginx->get($path)->{status}, 200, "$path: a token");
    }

    return $endpoint->calls - $before;
}


# with a cache
{
    my $nginx = server([
        ['a', 'token_proxy_client_secret one two'],
        ['b', 'token_proxy_client_secret one two', 'token_proxy_param scope b'],
        ['c', 'token_proxy_client_secret one'],
    ], workers => 2);

    $endpoint->answer(secrets => ['one', 'two'], expires_in => 2);

    is(calls($nginx, '/a'), 1, 'both are good: one call');
    is_deeply([sent()], ['one'], '... with the first');
    is_deeply(counts($nginx)->{client_secret_tokens}, { first => 1, second => 0 },
        '... and the status says so');
    is(counts($nginx)->{client_secret_retries}, 0, '... no second call');

    $endpoint->answer(secrets => ['two'], expires_in => 2);
    sleep 2.1;
    $endpoint->reset;

    is(calls($nginx, '/a'), 2, 'the first is refused: two calls');
    is_deeply([sent()], ['one', 'two'], '... the second is tried at once');
    is_deeply(counts($nginx)->{client_secret_tokens}, { first => 0, second => 1 },
        '... and the status says that the second is in use');
    is(counts($nginx)->{client_secret_retries}, 1, '... and that there was a call more');
    is(counts($nginx)->{fetches}{refused}, 0, '... no refusal');

    my $text = $nginx->get('/status?format=prometheus')->{content};

    like($text, qr/^token_proxy_client_secret_tokens\{zone="tokens",endpoint="\Q$host\E",secret="second"\} 1$/m,
        '... Prometheus reads it');
    like($text, qr/^token_proxy_client_secret_retries_total\{.*\} 1$/m, '... and the calls');

    sleep 2.1;
    $endpoint->reset;

    my $client = Token::Client->new($nginx->port);

    # connections of both workers
    $client->send('/a') for 1 .. 40;

    my @got = $client->receive(10);

    is(scalar(grep { $_->{status} == 200 } @got), 40, 'the next time');
    is_deeply([sent()], ['two'], '... one call, with the one that was good');

    for (1 .. 4) {
        sleep 2.1;
        $endpoint->reset;
        $client->send('/a') for 1 .. 10;
        $client->receive(10);
        is_deeply([sent()], ['two'], '... whichever worker asks');
    }

    $endpoint->answer(secrets => ['one'], expires_in => 60);
    sleep 2.1;
    $endpoint->reset;
    is(calls($nginx, '/a'), 2, 'it changes back');
    is_deeply([sent()], ['two', 'one'], '... in the other direction');
    is_deeply(counts($nginx)->{client_secret_tokens}, { first => 1, second => 0 },
        '... and the status says so');

    is(calls($nginx, '/c'), 1, 'another location with one of them');
    another($nginx->get('/c'), token($nginx->get('/a')), '... has its own token');
    is_deeply(counts($nginx)->{client_secret_tokens}, { first => 1, second => 0 },
        '... and is not counted');

    is(scalar(() = $nginx->error_log =~ /\[(?:error|warn)\]/g), 0, 'no error was logged');
    like($nginx->error_log, qr/\[notice\] .*answered 401 to the first client secret, the other one is tried/,
        '... but that the other one was tried');

    no_secrets($nginx, qr/\b(?:one|two)\b(?! is tried)/);
}


# both are refused
{
    my $nginx = server([['a', 'token_proxy_client_secret one two']]);

    $endpoint->answer(secrets => ['three']);
    is($nginx->get('/a')->{status}, 502, 'both are refused');
    is_deeply([sent()], ['one', 'two'], '... after two calls');
    is($nginx->get('/a')->{status}, 503, '... backoff as for one');
    is($endpoint->calls, 2, '... no call');
    is(counts($nginx)->{fetches}{refused}, 1, '... one refusal is counted');
    is(scalar(() = $nginx->error_log =~ /\[error\] .*answered 401/g), 1, '... and logged');
    is_deeply(counts($nginx)->{client_secret_tokens}, { first => 0, second => 0 },
        '... none is in use');

    sleep 1.3;
    $endpoint->reset;
    $endpoint->answer(status => 400, body => '{"error":"invalid_client"}');
    $nginx->get('/a');
    is($endpoint->calls, 2, 'a 400 that names the client: two calls');

    sleep 1.3;
    $endpoint->reset;
    $endpoint->answer(status => 400, body => '{"error":"invalid_scope"}');
    $nginx->get('/a');
    is($endpoint->calls, 1, 'another 400: one call');

    sleep 1.3;
    $endpoint->reset;
    $endpoint->answer(status => 503, body => '{"error":"invalid_client"}');
    $nginx->get('/a');
    is($endpoint->calls, 1, 'a 503: one call');

    sleep 1.3;
    $endpoint->reset;
    $endpoint->answer(close => 1);
    $nginx->get('/a');
    is($endpoint->calls, 1, 'no answer: one call');
    $endpoint->answer;
}


# without a cache, each way of authentication, files and variables
{
    spew("$dir/$_", $_), chmod 0600, "$dir/$_" for qw(one two);

    my $nginx = server([
        ['none', 'token_proxy_client_secret one two', 'token_proxy_cache off'],
        ['post', 'token_proxy_client_secret one two',
            'token_proxy_auth_method client_secret_post'],
        ['files', "token_proxy_client_secret file:$dir/one file:$dir/two"],
        ['mixed', 'token_proxy_client_secret $arg_s two'],
        ['grant', 'token_proxy_client_secret one two', 'token_proxy_refresh_grant on',
            'token_proxy_cache off'],
    ]);

    $endpoint->answer(secrets => ['two']);
    is(calls($nginx, '/none'), 2, 'without a cache: two calls');
    is(calls($nginx, '/none'), 1, '... then the one that was good');
    is(calls($nginx, '/post'), 2, 'in the body');
    is(calls($nginx, '/files'), 2, 'from files');
    $endpoint->reset;
    is(calls($nginx, '/mixed?s=x', '/mixed?s=y'), 3, 'from variables');
    is_deeply([sent()], ['x', 'two', 'two'], '... the first try is with what was good last');

    $endpoint->reset;

    my $got = $nginx->request(POST => '/grant',
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=mine');

    is($got->{status}, 200, 'a refresh grant of a caller');
    is_deeply([sent()], ['one', 'two'], '... two calls');
    is(scalar(grep { /refresh_token=mine/ } $endpoint->requests), 2,
        '... both with what it has sent');
    no_secrets($nginx, qr/refresh_token=mine/);
}


# no caller: the second is in a file that is replaced
{
    spew("$dir/warm", 'two');
    chmod 0600, "$dir/warm";

    $endpoint->answer(secrets => ['two', 'three'], expires_in => 2);

    my $nginx = server([['warm', 'token_proxy_cache_warm on',
        "token_proxy_client_secret file:$dir/one file:$dir/warm"]], workers => 2);

    ok(&wait_for(sub { $endpoint->calls > 3 }, 10), 'a warm location renews its token');
    is_deeply([(sent())[0 .. 3]], [qw(one two two two)],
        '... with the secret that was good for the first');

    chmod 0600, spew("$dir/.new", 'three');
    rename "$dir/.new", "$dir/warm" or die;
    ok(&wait_for(sub { (sent())[-1] eq 'three' }, 10),
        '... and with what is in the file then');
    is(counts($nginx)->{client_secret_retries}, 1, '... one call more in all');
    $endpoint->answer;
}


# nginx -t
for ([3 => 'one two three', 'invalid number of arguments'],
    [empty => 'one ""', 'is empty'], ['no file' => "one file:$dir/none", 'failed \(2'])
{
    my ($name, $values, $message) = @$_;
    my ($status, $output) = Token::Server->new(http => zone(),
        server => location('a', $endpoint->url,
            "token_proxy_client_secret $values"))->test;

    isnt($status, 0, "$name: nginx -t fails");
    like($output, qr/$message/, '... and says why');
}
