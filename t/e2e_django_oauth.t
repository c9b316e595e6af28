# The module and a real authorization server, Debian's Django OAuth Toolkit: it
# decodes Basic as RFC 6749 says, answers with "Connection: close", and keeps
# its tokens in a database.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64);
use Token::Client;
use Token::Daemon;
use Token::Real;
use Token::Server;
use Token::Util qw($ROOT free_port wait_for work_dir);

my @PYTHON = ('/usr/bin/python3', '-I');

plan(skip_all => 'no python3-django-oauth-toolkit')
    if system("@PYTHON -c 'import django, oauth2_provider' 2> /dev/null") != 0;
plan(tests => 102);

# Each of these characters is another one, or more, when it is form-encoded.
my $SPECIAL = '%41+b c&d=e:f/g?~';
my $SPECIAL_ID = 's%2B+/ &=:id';

# Each has a second one with "-user" after its id, for users.
my %clients = (
    (map { $_ => 'my-secret' } qw(plain other counted crowd short)),
    special => $SPECIAL,
    $SPECIAL_ID => $SPECIAL,
);

my $dir = work_dir();
my $server = server();
my $short = server(lifetime => 4);
my $endpoint = $server->url('/o/token/');

my @FORM = 'auth_method client_secret_basic encoding=form';
my @POST = 'auth_method client_secret_post';
my @LOGIN = ('grant_type password', 'param username user',
    'param password user-password');
my @REFRESH = ('refresh_grant on', 'cache tokens');

my $nginx = Token::Server->new(
    http => "token_proxy_cache_zone zone=tokens:1m;
        upstream kept { server 127.0.0.1:@{[ $server->port ]}; keepalive 4; }",
    server => join '', map { location(@$_) } (
        [basic => $endpoint, client('plain'), 'fields *'],
        [with_form => $endpoint, client('plain'), @FORM],
        [post => $endpoint, client('plain'), @POST],

        [wrong_secret => $endpoint, client('plain', 'wrong')],
        [wrong_post => $endpoint, client('plain', 'wrong'), @POST],
        [wrong_client => $endpoint, client('nobody')],
        [wrong_grant => $endpoint, client('plain-user')],
        [other_scope => $endpoint, client('plain'), 'param scope other'],
        [no_slash => $server->url('/o/token'), client('plain')],

        [secret_raw => $endpoint, client('special', $SPECIAL)],
        [secret_form => $endpoint, client('special', $SPECIAL), @FORM],
        [secret_post => $endpoint, client('special', $SPECIAL), @POST],
        [id_form => $endpoint, client($SPECIAL_ID, $SPECIAL), @FORM],
        [id_post => $endpoint, client($SPECIAL_ID, $SPECIAL), @POST],

        [login_basic => $endpoint, client('plain-user'), @LOGIN],
        [refresh_basic => $endpoint, client('plain-user'), @REFRESH],
        [login_post => $endpoint, client('plain-user'), @LOGIN, @POST],
        [refresh_post => $endpoint, client('plain-user'), @REFRESH, @POST],
        [refresh_other => $endpoint, client('other-user'), @REFRESH],
        [refresh_wrong => $endpoint, client('plain-user', 'wrong'), @REFRESH],

        [cached => $endpoint, client('counted'), 'cache tokens', 'fields *'],
        [crowd => $endpoint, client('crowd'), 'cache tokens'],
        [cached_short => $short->url('/o/token/'), client('short'),
            'cache tokens', 'fields *'],
        [kept => 'http://kept/o/token/', client('plain')],
    ))->start;


# Basic and post
{
    my $answer = token($nginx, 'basic');

    is($answer->{token_type}, 'Bearer', 'all members: token_type');
    is($answer->{expires_in}, 3600, 'all members: expires_in');
    is($answer->{scope}, 'api', 'all members: scope');

    is(join(' ', keys %{ token($nginx, $_) }), 'access_token',
        'by default: no more than the token') for qw(with_form post);
}


# what it refuses, and why, as the log has it
{
    refused($nginx, $_, 502, qr/answered 401, error: invalid_client/)
        for qw(wrong_secret wrong_post wrong_client);
    refused($nginx, 'wrong_grant', 502,
        qr/answered 400, error: unauthorized_client/);
    refused($nginx, 'other_scope', 502, qr/answered 400, error: invalid_scope/);
    refused($nginx, 'no_slash', 502, qr/answered 404/);
}


# It decodes Basic credentials, and so has clients whose id has a colon.
{
    refused($nginx, 'secret_raw', 502, qr/answered 401, error: invalid_client/);
    token($nginx, $_) for qw(secret_form secret_post id_form id_post);
}


# refresh tokens of callers
{
    for my $method (qw(basic post)) {
        my $old = token($nginx, "login_$method")->{refresh_token};
        my ($status, $answer) = refresh($nginx, "refresh_$method", $old);

        is($status, 200, "$method: a refresh token is good for another token");
        is(join(' ', sort keys %$answer), 'access_token refresh_token',
            "$method: with the token for the next time");
        ($status) = refresh($nginx, "refresh_$method",
            $answer->{refresh_token});
        is($status, 200, "$method: which is good");
    }

    my $from = length $nginx->error_log;
    my $used = token($nginx, 'login_basic')->{refresh_token};

    is((refresh($nginx, 'refresh_basic', $used))[0], 200, 'a first use');
    grant_refused($nginx, 'refresh_basic', $used, 'a second use');
    grant_refused($nginx, 'refresh_basic', 'made-up', 'a made-up token');
    grant_refused($nginx, 'refresh_other', token($nginx, 'login_basic')
        ->{refresh_token}, 'a token of another client');

    my $log = substr $nginx->error_log, $from;
    unlike($log, qr/\[error\]/, 'none of these is an error of the server');
    is(scalar(() = $log =~ /\[info\].*answered 400, error: invalid_grant/g), 3,
        '... but the log says so');

    my ($status, $answer) = refresh($nginx, 'refresh_wrong',
        token($nginx, 'login_basic')->{refresh_token});

    is($status, 502, 'a wrong secret is not the caller\'s mistake');
    is($answer->{error}, 'server_error', '... which the error says');
}


# a cache, with the server's lifetimes
{
    my $answer = token($nginx, 'cached');

    is(token($nginx, 'cached')->{access_token}, $answer->{access_token},
        'the next caller has the same token');
    cmp_ok($answer->{expires_in}, '>', 3500, '... of a long life');

    my $client = Token::Client->new($nginx->port);
    $client->send('/crowd') for 1 .. 20;
    my %answers = map { $_->{content} => 1 } $client->receive(20);
    is(scalar(keys %answers), 1, 'callers at the same time have one token');
    like((keys %answers)[0], qr/^\{"access_token":"\w/, '... a good one');

    my $asked = () = $short->log =~ /"POST /g;
    my %tokens;

    wait_for {
        my $answer = eval { decode_json($nginx->get('/cached_short')
            ->{content}) } // {};

        $tokens{ $answer->{access_token} // 'none' } = 1;
        keys %tokens > 3;
    } 30;

    is(scalar(keys %tokens), 4, 'a token of four seconds is renewed');
    is($tokens{none}, undef, '... before it expires');
    cmp_ok((() = $short->log =~ /"POST /g) - $asked, '<=', 5,
        '... by a call for each');
}


# a restart, of a server that keeps no connections
{
    endures($nginx, 'kept', $server, 'uncached');
    endures($nginx, 'cached', $server, 'cached');
}


# nothing secret in the log, which is of level debug
{
    my $log = $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    is(index($log, $_), -1, "$_ is not in it")
        for 'my-secret', 'user-password', $SPECIAL,
            encode_base64('plain:my-secret', '');
}

$nginx->stop;
$_->stop for $server, $short;


sub server {
    my $port = free_port();

    return Token::Daemon->new(port => $port, log => "$dir/$port.log",
        command => [@PYTHON, "$ROOT/t/django_oauth/server.py",
            encode_json({ port => $port, db => "$dir/$port.db",
                clients => \%clients, @_ })])->start;
}


# Directives for a client with a secret.
sub client {
    my ($id, $secret) = @_;

    $secret //= 'my-secret';
    return (qq(client_id "$id"), qq(client_secret "$secret"));
}
