# A caller's refresh token and a real authorization server, npm's
# oidc-provider: rotated, used twice, of another client.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json encode_json);
use Token::Server;
use Token::Util qw($ROOT need_npm);

need_npm('oidc-provider', 'jose');
plan(tests => 41);

my $SECRET = 'a-secret-of-more-than-thirty-two-bytes';
my @GRANTS = ('client_credentials', 'refresh_token', 'authorization_code');
my %METHODS = map { $_ => {
    client_secret => $SECRET, grant_types => \@GRANTS,
    redirect_uris => ['https://app.example/'], response_types => ['code'],
    token_endpoint_auth_method => $_,
} } qw(client_secret_basic client_secret_post client_secret_jwt);

$METHODS{none} = { %{ $METHODS{client_secret_basic} },
    token_endpoint_auth_method => 'none' };
delete $METHODS{none}{client_secret};

my $pid = open2(my $out, my $in, 'node', "$ROOT/t/oidc/server.mjs",
    encode_json({ clients => \%METHODS }));
my $issuer = <$out> // die "the authorization server did not start\n";
chomp $issuer;

my $nginx = Token::Server->new(
    http => 'token_proxy_cache_zone zone=tokens:1m;',
    server => join '', map { "location = /$_ {
        token_proxy                on;
        token_proxy_endpoint       $issuer/token;
        token_proxy_client_id      $_;
        token_proxy_client_secret  $SECRET;
        token_proxy_auth_method    $_;
        token_proxy_refresh_grant  on;
        token_proxy_cache          tokens;
    }\n" } sort keys %METHODS)->start;

my @secrets = $SECRET;

for my $method (sort keys %METHODS) {
    my $token = new_token($method);
    my ($status, $answer) = refresh($method, $token);

    is($status, 200, "$method: status");
    like($answer->{access_token}, qr/^[\w-]{20,}$/, "$method: an access token");
    like($answer->{refresh_token}, qr/^[\w-]{20,}$/, "$method: a refresh token");
    is(join(' ', sort keys %$answer), 'access_token refresh_token',
        "$method: the subset");

    my ($next, $second) = refresh($method, $answer->{refresh_token});
    is($next, 200, "$method: the token that came is good for another time");
    isnt($second->{access_token}, $answer->{access_token},
        "$method: it is another access token");
}

{
    my $before = length $nginx->error_log;
    my ($status, $answer) = refresh('client_secret_basic', 'made-up');

    is($status, 400, 'a made-up token: status');
    is($answer->{error}, 'invalid_grant', 'a made-up token: the error');

    ($status, $answer) = refresh('client_secret_basic',
        new_token('client_secret_post'));
    is($status, 400, 'a token of another client: status');
    is($answer->{error}, 'invalid_grant', 'a token of another client: error');

    # a public client's token is rotated, and good for one use
    my $token = new_token('none');
    is((refresh('none', $token))[0], 200, 'a first use');
    ($status, $answer) = refresh('none', $token);
    is($status, 400, 'a second use: status');
    is($answer->{error}, 'invalid_grant', 'a second use: the error');

    my $log = substr $nginx->error_log, $before;
    unlike($log, qr/\[error\]/, 'none of these is an error of the server');
    like($log, qr/\[info\].*answered 400, error: invalid_grant/,
        '... but the log says so');
}

{
    my ($status, $answer) = refresh('client_secret_basic',
        new_token('client_secret_basic'), 'api');

    is($status, 200, 'a narrower scope: status');

    ($status, $answer) = refresh('client_secret_basic',
        new_token('client_secret_basic'), 'more');
    is($status, 400, 'a wider scope is the caller\'s mistake');
    is($answer->{error}, 'invalid_scope', '... which the error says');
}

{
    my $first = $nginx->get('/client_secret_basic');
    my $second = $nginx->get('/client_secret_basic');

    is($first->{status}, 200, 'the location has a token of its own');
    is($second->{content}, $first->{content}, '... from the cache');
    ok(!(grep { index($first->{content}, $_) >= 0 } @secrets),
        '... which is none of a caller\'s');
}

{
    my $log = $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    is((scalar grep { index($log, $_) >= 0 } @secrets), 0,
        'no token and no secret is in it, of ' . @secrets);
}

$nginx->stop;
close $in;
waitpid $pid, 0;


sub new_token {
    my ($client) = @_;
    my $token = HTTP::Tiny->new->get("$issuer/refresh_token?client=$client")
        ->{content};

    push @secrets, $token;
    return $token;
}


sub refresh {
    my ($location, $token, $scope) = @_;
    my $response = HTTP::Tiny->new->post_form($nginx->url("/$location"),
        [grant_type => 'refresh_token', refresh_token => $token,
            defined $scope ? (scope => $scope) : ()]);
    my $answer = eval { decode_json($response->{content}) } // {};

    push @secrets, grep { defined }
        @{$answer}{qw(access_token refresh_token)};
    return ($response->{status}, $answer);
}
