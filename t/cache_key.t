# Which requests share a token: those that would get the same one, and no
# others. Each part of a token request's identity is another entry.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 106;
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port);

my $endpoint = Token::Endpoint->new;
my $url = $endpoint->url;
my $post = 'token_proxy_auth_method client_secret_post';
my $id = 'token_proxy_client_id one+two';
my $other_port = free_port();

# Each has one thing that the location "same" has not.
my %different = (
    secret      => [$url, 'token_proxy_client_secret another'],
    id          => [$url, 'token_proxy_client_id another'],
    endpoint    => [$endpoint->url('/other')],
    argument    => [$endpoint->url('/token?a=b')],
    host        => [$url =~ s/127\.0\.0\.1/localhost/r],
    method      => [$url, $post],
    no_secret   => [$url, 'token_proxy_auth_method none'],
    grant       => [$url, 'token_proxy_grant_type urn:own'],
    scope       => [$url, 'token_proxy_param scope a'],
    scope_value => [$url, 'token_proxy_param scope b'],
    param_name  => [$url, 'token_proxy_param resource a'],
    two_params  => [$url, 'token_proxy_param scope a',
                    'token_proxy_param resource a'],
    cache_key   => [$url, 'token_proxy_cache_key own'],
    cache_key2  => [$url, 'token_proxy_cache_key another'],

    # what one part ends with does not begin the next
    endpoint_x  => [$endpoint->url('/x'), 'token_proxy_cache_key y'],
    endpoint_xy => [$endpoint->url('/xy')],

    # the same id and secret in another encoding
    raw         => [$url, $id],
    form        => [$url, $id,
                    'token_proxy_auth_method client_secret_basic encoding=form'],

    # the secret is a part where it is in the body as well
    post_secret => [$url, $post, 'token_proxy_client_secret another'],
    post_id     => [$url, $post, 'token_proxy_client_id another'],
);

my $variable = location('variable',
    "http://127.0.0.1:@{[$endpoint->port]}/\$arg_path",
    'token_proxy_client_id id$arg_id', 'token_proxy_client_secret s$arg_secret',
    'token_proxy_param scope "$arg_scope"', 'token_proxy_cache_key "$arg_key"');

my $nginx = Token::Server->new(
    workers => 2,
    http => zone() . <<"END",
    token_proxy_cache_zone  zone=others:64k;
    server {
        listen 127.0.0.1:$other_port;
        @{[ location('elsewhere', $url) ]}
    }
END
    server => join('',
        location('same', $url),
        (map { location($_, @{ $different{$_} }) } sort keys %different),
        $variable,

        # nothing that another token comes back for
        location('again', $url),
        location('fields', $url, 'token_proxy_fields *'),
        location('methods', $url, 'token_proxy_methods POST GET'),
        location('times', $url, 'token_proxy_refresh_before 10%',
            'token_proxy_lock_timeout 1s', 'token_proxy_retry_backoff 1s 2s'),
        location('default_grant', $url,
            'token_proxy_grant_type client_credentials'),
        location('spelt_out', $url, 'token_proxy_auth_method client_secret_basic',
            'token_proxy_client_id my-key', 'token_proxy_client_secret my-secret'),
        location('header', $url, 'proxy_read_timeout 5s'),
        location('nested/deeper', $url),

        location('other_zone', $url, 'token_proxy_cache others'),
        "location = /env { token_proxy on; token_proxy_endpoint $url; "
            . 'token_proxy_cache tokens; token_proxy_client_id env:KEY; '
            . "token_proxy_client_secret env:SECRET; }\n"),
    env => { KEY => 'my-key', SECRET => 'my-secret' },
)->start;


# different
my %seen;

for my $name ('same', sort keys %different) {
    my $response = $nginx->get("/$name");
    my $token = token($response) // '';

    is(status($response), 'MISS', "$name: not another's token")
        or diag("$response->{status} $response->{content}");
    ok(!$seen{$token}++, "$name: its own token");
    is(token($nginx->get("/$name")), $token, "$name: which is kept");
}

is($endpoint->calls, 1 + keys %different, 'a call for each, and no more');


# the same
my $same = token($nginx->get('/same'));

for my $name (qw(again fields methods times default_grant spelt_out header
    nested/deeper env))
{
    my $response = $nginx->get("/$name");

    is(status($response), 'HIT', "$name: a hit");
    is(token($response), $same, "$name: the token of the others");
}

{
    my $response = HTTP::Tiny->new->get(
        "http://127.0.0.1:$other_port/elsewhere");

    is(token($response), $same, 'a location of another server shares the token');
}

another($nginx->get('/other_zone'), $same, 'another zone is another cache');


# variables
{
    my $calls = $endpoint->calls;
    my $all = 'path=token&id=1&secret=1&scope=1&key=1';
    my $first = token($nginx->get("/variable?$all"));

    is(token($nginx->get("/variable?$all")), $first,
        'variables with the same values: the same token');
    is(token($nginx->get("/variable?$all&other=1")), $first,
        'a variable that has no part in it: the same token');

    for my $part (qw(path id secret scope key)) {
        my $response = $nginx->get('/variable?' . $all =~ s/$part=\w+/$part=2/r);

        is($response->{status}, 200, "\$arg_$part: status");
        is(status($response), 'MISS', "\$arg_$part with another value");
        another($response, $first, "\$arg_$part: another token");
    }

    is($endpoint->calls - $calls, 6, 'a call for each');

    # a caller cannot move what belongs to one part to the next
    another($nginx->get('/variable?path=token&id=1&secret=1&scope=11&key='),
        $first, 'scope 11 and no key is not scope 1 and key 1');
}


# no secret in shared memory: its pages are in every worker's memory
{
    my $memory = join '', map { $_->[1] } shared_memory(($nginx->workers)[0]);

    like($memory, qr/AT-1/, 'the zone is found in the memory of a worker');
    unlike($memory, qr/my-secret|bXkta2V5Om15LXNlY3JldA|another|one.two/,
        'there is no secret and no client id in it');
}

no_secrets($nginx, qr/another\b.*secret/);
$nginx->stop;
