# A token endpoint that refuses a refresh grant: what the caller is told, what
# the log says, and what is counted. A dead refresh token is the caller's
# matter, a refused client the operator's.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use JSON::PP qw(decode_json);
use Token::Cache;
use Token::Endpoint;
use Token::Server;

# What eight servers were seen to send, and what may come.
my @ANSWERS = (
    # the refresh token is dead
    ['400 invalid_grant',        400, '{"error":"invalid_grant"}', 'invalid_grant'],
    ['403 invalid_grant',        403, '{"error":"invalid_grant"}', 'invalid_grant'],
    ['401 invalid_grant',        401, '{"error":"invalid_grant"}', 'invalid_grant'],
    ['400 invalid_request',      400, '{"error":"invalid_request"}', 'invalid_grant'],
    ['400 without a body',       400, '', 'invalid_grant'],
    ['403 without a body',       403, '', 'invalid_grant'],
    ['400 with a page',          400, '<html></html>', 'invalid_grant'],
    ['400 of a server\'s own',   400, '{"error":"token_expired"}', 'invalid_grant'],
    ['400 with a number',        400, '{"error":400}', 'invalid_grant'],
    ['400 of two words',         400, '{"error":"invalid_client_x"}', 'invalid_grant'],
    ['404 not found',            404, '{"message":"no such token"}', 'invalid_grant'],
    ['401 invalid_token',        401, '{"error":"invalid_token"}', 'invalid_grant'],

    # the scope, if the caller has sent one
    ['400 invalid_scope',        400, '{"error":"invalid_scope"}', 'invalid_grant'],
    ['400 invalid_scope',        400, '{"error":"invalid_scope"}', 'invalid_scope', 'read'],
    ['403 invalid_scope',        403, '{"error":"invalid_scope"}', 'invalid_scope', 'read'],
    ['400 and a scope',          400, '{"error":"invalid_grant"}', 'invalid_grant', 'read'],

    # the client is refused
    ['401 invalid_client',       401, '{"error":"invalid_client"}', 'refused'],
    ['400 invalid_client',       400, '{"error":"invalid_client"}', 'refused'],
    ['403 invalid_client',       403, '{"error":"invalid_client"}', 'refused', 'read'],
    ['400 unauthorized_client',  400, '{"error":"unauthorized_client"}', 'refused'],

    # it is not known who is refused
    ['401 without a body',       401, '', 'invalid'],
    ['401 with a page',          401, '<html></html>', 'invalid'],
    ['401 with another member',  401, '{"message":"Unauthorized"}', 'invalid'],
    ['401 with a null',          401, '{"error":null}', 'invalid', 'read'],
    ['401 with an empty error',  401, '{"error":""}', 'invalid'],

    # the endpoint is busy or broken
    ['429 with an error',        429, '{"error":"invalid_grant"}', 'busy'],
    ['503 with an error',        503, '{"error":"invalid_grant"}', 'busy'],
    ['500 with an error',        500, '{"error":"invalid_grant"}', 'broken'],
    ['302 with an error',        302, '{"error":"invalid_grant"}', 'invalid'],
);

# what a caller gets, by what is counted
my %TOLD = (
    invalid_grant => [400, 'invalid_grant', 'The refresh token is not valid.'],
    invalid_scope => [400, 'invalid_scope', 'The scope is not valid.'],
    refused => [502, 'server_error', 'The token endpoint refused the request.'],
    invalid => [502, 'server_error', 'The token endpoint gave an invalid answer.'],
    busy => [503, 'temporarily_unavailable',
        'The token endpoint is busy, try again later.'],
    broken => [502, 'server_error', 'The token endpoint failed.'],
);

plan(tests => 2 * 6 * @ANSWERS + 6);

my $endpoint = Token::Endpoint->new;
my $nginx = Token::Server->new(
    http => zone(),
    log_level => 'info',
    server => location('cached', $endpoint->url, 'token_proxy_refresh_grant on')
        . location('uncached', $endpoint->url, 'token_proxy_refresh_grant on',
            'token_proxy_cache off')
        . 'location = /status { token_proxy_status; }',
)->start;

my $logged = 0;

for my $location (qw(cached uncached)) {
    for (@ANSWERS) {
        my ($name, $status, $body, $outcome, $scope) = @$_;
        my ($code, $error, $description) = @{ $TOLD{$outcome} };
        my $level = $code == 400 ? 'info' : 'error';

        $name = "/$location: $name" . ($scope ? ', a scope was sent' : '');

        my $before = counts();

        $endpoint->next({ status => $status, body => $body });
        my $got = refresh($location, $scope);
        my $told = eval { decode_json($got->{content}) } // {};

        is($got->{status}, $code, "$name: the caller gets $code");
        is($told->{error}, $error, "... $error");
        is($told->{error_description}, $description, '... and is told why');
        is($got->{headers}{'content-type'}, 'application/json', '... in JSON');

        my @lines = lines();
        like("@lines", qr/^\S+ \S+ \[$level\] [^\n]*answered $status\b/,
            "... one line at the level $level") or diag(@lines);

        my $after = counts();
        my %more = map { $_ => ($after->{$_} // 0) - ($before->{$_} // 0) }
            keys %$after;

        is_deeply({ map { $_ => $more{$_} } grep { $more{$_} } keys %more },
            { $location eq 'cached' ? ($outcome => 1) : () },
            '... counted as ' . ($location eq 'cached' ? $outcome : 'nothing'));
    }
}

# The location's own grant: any 4xx is the client's.
for my $body ('', '{"error":"invalid_scope"}') {
    $endpoint->next({ status => 400, body => $body });
    my $got = $nginx->request(POST => '/uncached', {});
    is($got->{status}, 502, 'the location\'s own grant: 502');
    is(decode_json($got->{content})->{error_description},
        'The token endpoint refused the request.', '... the client is refused');
    like((lines())[0], qr/\[error\] .* answered 400/, '... in the log');
}

$nginx->stop('QUIT');


sub refresh {
    my ($location, $scope) = @_;

    return $nginx->request(POST => "/$location",
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=of-the-caller'
            . ($scope ? "&scope=$scope" : ''));
}


sub counts {
    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{tokens};
    my ($at) = values %{ $zone->{endpoints} };

    return $at->{fetches} // {};
}


# of the endpoint's answers, since the last time
sub lines {
    my @lines = grep { /token endpoint/ } split /\n/, $nginx->error_log;
    my @new = @lines[$logged .. $#lines];

    $logged = @lines;
    return @new;
}
