package Token::Callers;

# What nginx may meet at its front: kinds of location, and which answer each
# owes to a request. Shapes of callers are in Token::Shapes, and what talks to
# nginx in Token::Loop.
#
#     my $callers = Token::Callers->new($backend);      # a Token::Backend
#     my $nginx = Token::Server->new($callers->configuration);
#     $callers->prepare($nginx);          # before its start: pages
#     for my $location ($callers->locations) { ... }
#     $callers->prime($nginx);            # after it: what has to be cached
#
# A location is a hash:
#
#     name     of the kind, as failures show it
#     path     where it is; "query" is added to each request's
#     kind     token, api, page, fixed, refresh: which answer it gives
#     reads    1: the caller's whole body is read before the answer
#     whose    the "n" that its token is for: own (the request's), hit, k (that
#              of the group of callers who wait for one fetch)
#     company  1: another caller begins the fetch
#     copied   1: from a worker's copy; another caller has it renewed meanwhile
#     first    1: it refuses before it looks at the method
#     max      client_max_body_size
#     once     1: a connection is closed after each answer
#     gives_up 1: and after one to a request with a body, if that was not there
#     ignores  1: proxy_ignore_client_abort
#     methods  status by method, for what the location itself refuses
#     headers  that each request needs
#
# The request's id is the parameter "n" of its URI, and "X-N" of the answer:
# $request_uri stays what it was, whatever leads to the location.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Exporter qw(import);
use Token::Cert;
use Token::Util qw(free_port nginx_since spew work_dir);

our @EXPORT_OK = qw(right);


sub new {
    my ($class, $backend, %options) = @_;
    my $self = bless {
        backend => $backend, tls_port => free_port(), h2_port => free_port(),
        http2_port => free_port(),
        %options,
    }, $class;

    $self->{locations} = [all_locations(), $self->{store} ? stored() : ()];
    return $self;
}


sub tls_port { $_[0]{tls_port} }
sub http2_port { $_[0]{http2_port} }
sub locations { @{ $_[0]{locations} } }


# Locations of tokens, and what their answers are.
sub token {
    my ($name, $conf, %more) = @_;
    my $path = $more{path} // "/$name";

    $more{where} //= "= $path";
    return { name => $name, path => $path, kind => 'token', whose => 'own',
        conf => "token_proxy on; token_proxy_endpoint \@TOKEN\@; $conf", %more };
}


# Locations that pass on to the API with a token.
sub bearer {
    my ($name, $token, $conf, %more) = @_;
    my $path = "/api/$name";

    return { name => $name, path => $path, where => "= $path", kind => 'api',
        reads => 1, whose => 'own',
        conf => ($token ? "token_proxy_bearer $token; " : '') . $conf, %more };
}


my $HIT = 'token_proxy_cache tokens; token_proxy_param n hit;';
my $MISS = 'token_proxy_cache tokens;';
my $WAIT = 'token_proxy_cache tokens; token_proxy_param n $k;'
    . ' token_proxy_param d $d; token_proxy_param size $size;';
# a token that needs another location's
my $NEEDS = ' token_proxy_param n $n; token_proxy_param d $d; token_proxy_param size $size;'
    . ' token_proxy_param subject token:';
my $FAIL = 'token_proxy_param how 500; token_proxy_param n $n;';
my $LETS_IN = ['Authorization: Basic bWU6bWU='];
my %NO_PAGE = map { $_ => 405 } qw(POST PUT DELETE OPTIONS FOO);

sub all_locations {
    my $pass = 'proxy_pass @API@;';

    return (
        # tokens of a request's own, and of the cache
        token(plain => ''),
        token(hit => $HIT, whose => 'hit'),
        token(miss => $MISS),
        token(wait => $WAIT, whose => 'k', company => 1),
        token(renew => 'token_proxy_cache tokens; token_proxy_refresh_before 90%;'
            . ' token_proxy_param n renew; token_proxy_param exp 2;'
            . ' token_proxy_param d 60;', whose => 'renew'),
        token(copied => 'token_proxy_cache tokens; token_proxy_refresh_before 90%;'
            . ' token_proxy_param n copied; token_proxy_param exp 2;'
            . ' token_proxy_param size 60000;', whose => 'copied', copied => 1),
        token(backoff => 'token_proxy_cache tokens; token_proxy_retry_backoff 1h 1h;'
            . ' token_proxy_param n backoff; token_proxy_param how 500;',
            kind => 'fixed', status => 503),
        token(fail => $FAIL, kind => 'fixed', status => 502),
        token(fail_cached => "$FAIL token_proxy_cache tokens;",
            kind => 'fixed', status => 502),
        token(refresh => 'token_proxy_refresh_grant on;', kind => 'refresh'),
        (map { token("refresh_$_" => 'token_proxy_refresh_grant on;',
            kind => 'refresh', dead => $_) } qw(403 grant request empty)),

        # tokens for which another one is needed
        token(chain => "$NEEDS/plain;"),
        token(chain_miss => "$MISS $NEEDS/miss;"),
        token(chain_hit => "$NEEDS/hit; token_proxy_param whose hit;"),
        token(chain_wait => $WAIT . ' token_proxy_param subject token:/wait;',
            whose => 'k', company => 1),
        token(chain_header => "$MISS token_proxy_auth_method none; token_proxy_bearer /miss;"
            . ' token_proxy_param n $n; token_proxy_param d $d;'
            . ' token_proxy_param size $size; token_proxy_param bearer yes;'),
        token(chain_fail => "$NEEDS/fail;", kind => 'fixed', status => 502),
        token(chain_ignores => "proxy_ignore_client_abort on; $NEEDS/wait;"
            . ' token_proxy_param whose $k;', ignores => 1),

        # where a location can stand
        token(named => '', path => '/by_name', where => '@named',
            around => 'location = /by_name { try_files /none @named; }'),
        token(regex => '', path => '/regular', where => '~ ^/reg(?:ular)$'),
        token(nested => '', path => '/nest/token',
            around => 'location /nest/ { return 404; INNER }'),
        token(if => 'if ($n) { add_header X-N $n always; }'),
        token(limit_except => 'limit_except GET POST { deny all; }',
            methods => { map { $_ => 403 } qw(PUT DELETE FOO) }),

        # with others' directives
        token(error_page => "$FAIL error_page 502 =200 \@page;", kind => 'fixed',
            status => 200, text => 'page', gives_up => 1),
        token(error_proxy => "$FAIL error_page 502 = \@error_proxy;",
            path => '/api/error_proxy', kind => 'api', drops => 1, gives_up => 1, whose => undef,
            around => "location \@error_proxy { $pass } INNER"),
        # a post_action that proxies loses a late body, with or without the
        # module: this one does not
        token(post_action => 'post_action /post;'),
        token(post_outer => '', path => '/post_outer/token',
            around => 'location /post_outer/ { post_action /post; INNER }'),
        token(mirror_first => 'mirror /mirrored;', reads => 1),
        token(mirror_no_body => 'mirror /mirrored; mirror_request_body off;'),
        token(auth_request => 'auth_request /authz;', headers => $LETS_IN),
        token(auth_refused => 'auth_request /authz;', kind => 'fixed', status => 401),
        token(auth_miss => "auth_request /authz; $MISS", headers => $LETS_IN),
        token(satisfy => 'satisfy any; allow 127.0.0.1; deny all;'
            . ' token_proxy_auth_basic r; token_proxy_auth_basic_user me me;'),
        token(unsatisfied => 'satisfy any; deny all; token_proxy_auth_basic r;'
            . ' token_proxy_auth_basic_user me me;', kind => 'fixed', status => 401),
        token(cors => "$MISS token_proxy_cors_origin *;"),
        token(no_cors => $MISS, kind => 'fixed', status => 403, first => 1,
            headers => ['Sec-Fetch-Site: cross-site']),
        token(no_cors_page => "$MISS error_page 403 =200 \@page;", kind => 'fixed',
            status => 200, text => 'page', first => 1, gives_up => 1,
            headers => ['Sec-Fetch-Site: same-site', 'Sec-Fetch-Mode: no-cors']),
        token(own_page => $MISS, headers => ['Sec-Fetch-Site: same-origin']),
        token(limit_req => 'limit_req zone=requests burst=100;', company => 1),
        token(limit_conn => "limit_conn connections 1; $MISS"),
        token(linger_always => 'lingering_close always;'),
        token(linger_always_miss => "lingering_close always; $MISS"),
        token(linger_off => 'lingering_close off;', hasty => 1),
        token(linger_off_miss => "lingering_close off; $MISS", hasty => 1),
        token(once => 'keepalive_requests 1;', once => 1),
        token(once_miss => "keepalive_requests 1; $MISS", once => 1),
        token(resets => 'reset_timedout_connection on;'),
        token(ignores => 'proxy_ignore_client_abort on;', ignores => 1),
        token(ignores_miss => "proxy_ignore_client_abort on; $MISS", ignores => 1),
        token(ignores_wait => "proxy_ignore_client_abort on; $WAIT", ignores => 1,
            whose => 'k', company => 1),
        token(small_body => 'client_max_body_size 1k;', max => 1024),
        token(small_body_miss => "client_max_body_size 1k; $MISS", max => 1024),

        # an API behind a token
        bearer(proxy => '/plain', $pass),
        bearer(proxy_hit => '/hit', $pass, whose => 'hit'),
        bearer(proxy_miss => '/miss', $pass),
        bearer(proxy_wait => '/wait', $pass, whose => 'k', company => 1),
        bearer(proxy_copied => '/copied', $pass, whose => 'copied', copied => 1),
        bearer(proxy_chain => '/chain_miss', $pass),
        bearer(proxy_fail => '/fail', $pass, kind => 'fixed', status => 502, reads => 0),
        bearer(streams => '/miss', "$pass proxy_request_buffering off; proxy_http_version 1.1;",
            streams => 1),
        bearer(retry => '/plain', $pass, query => 'how=revoked', retries => 1),
        bearer(retry_miss => '/miss', $pass, query => 'how=revoked', retries => 1,
            not_again => 1),
        bearer(ignores_proxy => '/miss', "$pass proxy_ignore_client_abort on;",
            ignores => 1),
        bearer(small_api => '/miss', "$pass client_max_body_size 1k;", max => 1024),
        bearer(grpc => '/plain', 'grpc_pass grpc://127.0.0.1:@H2@;'),
        bearer(grpc_miss => '/miss', 'grpc_pass grpc://127.0.0.1:@H2@;'),
        bearer(fastcgi => '/plain', 'fastcgi_pass 127.0.0.1:@FASTCGI@;'
            . ' include @DIR@/conf/fastcgi;', no_length => 1),
        bearer(fastcgi_miss => '/miss', 'fastcgi_pass 127.0.0.1:@FASTCGI@;'
            . ' include @DIR@/conf/fastcgi;', no_length => 1),
        bearer(limited_api => '/miss', "$pass limit_req zone=requests burst=100;"
            . ' limit_conn connections 1;', company => 0),

        # a token on behalf of another location
        bearer(mirror => undef, "$pass mirror /mirrored;", whose => undef),
        bearer(mirror_big => undef, "$pass mirror /big;", whose => undef),
        bearer(mirror_bearer => undef, "$pass mirror /mirrored_api;", whose => undef),
        bearer(asks_token => undef, "$pass auth_request /internal;", whose => undef),
        bearer(asks_miss => undef, "$pass auth_request /internal_miss;", whose => undef),
        bearer(asked_with_bearer => undef, "$pass auth_request /outer/authz;",
            headers => $LETS_IN, around => 'location /outer/ {'
            . ' token_proxy_bearer /plain; location = /outer/authz {'
            . ' internal; proxy_pass @BACKEND@/authz; proxy_pass_request_body off;'
            . ' proxy_set_header Content-Length ""; } INNER }',
            path => '/outer/api', where => '= /outer/api'),
        page(ssi => 'plain,plain', ['own', 'own']),
        page(ssi_miss => 'miss,hit,miss', ['own', 'hit', 'own']),
        page(ssi_chain => 'chain_hit,copied', ['own', 'copied']),
        page(ssi_big => 'plain,big', ['own', 'own']),
        page(addition => '', [], 'addition_types *; add_before_body /plain;'
            . ' add_after_body /hit;', ['own'], ['hit']),
        { name => 'ssi_set', path => '/set.html', where => '= /set.html',
            kind => 'page', reads => 0, before => ['own'], after => [], inside => [],
            text => '', conf => 'ssi on;', methods => { %NO_PAGE, PUT => 405 } },
        { name => 'status', path => '/status', where => '= /status', kind => 'status',
            conf => 'token_proxy_status;', methods => \%NO_PAGE },
    );
}


# Tokens that machines share by a store.
sub stored {
    my $stored = sub { $_[0] =~ s/cache tokens/cache stored/r };

    return (
        token(stored_hit => $stored->($HIT), whose => 'hit'),
        token(stored => $stored->($MISS)),
        token(stored_wait => $stored->($WAIT), whose => 'k', company => 1),
        token(stored_chain => $stored->($MISS) . "$NEEDS/stored;"),
        token(stored_fail => $stored->("$FAIL token_proxy_cache tokens;"),
            kind => 'fixed', status => 502),
        bearer(proxy_stored => '/stored', 'proxy_pass @API@;'),
    );
}


# A page of the API's with a token in it.
sub page {
    my ($name, $includes, $inside, $conf, $before, $after) = @_;

    return { name => $name, path => "/page_$name", where => "= /page_$name",
        kind => 'page', reads => 1, inside => $inside, before => $before // [],
        after => $after // [], text => 'page',
        conf => "ssi on; proxy_pass \@BACKEND\@/page?n=\$n&inc=$includes; "
            . ($conf // '') };
}


sub configuration {
    my ($self) = @_;
    my $backend = 'http://127.0.0.1:' . $self->{backend}->port;
    my $cert = $self->{cert} //= Token::Cert->authority(work_dir(), 'localhost');
    my $parameters = join '', map { "token_proxy_param $_ \$$_;\n" } qw(n d size how);
    my $h2 = nginx_since('1.25.1') ? "listen 127.0.0.1:$self->{h2_port}; http2 on;"
        : "listen 127.0.0.1:$self->{h2_port} http2;";
    my $old = nginx_since('1.25.1') ? '' : ' http2';
    my $server = ($old ? '' : "http2 on;\n")
        . "listen 127.0.0.1:$self->{http2_port}$old;\n"
        . "listen 127.0.0.1:$self->{tls_port} ssl$old sndbuf=64k;\n"
        . "ssl_certificate @{[ $cert->file ]}; ssl_certificate_key @{[ $cert->key ]};\n";

    for my $location ($self->locations) {
        my $conf = $location->{conf};

        # parameters of a location take the place of all
        my $text = "location $location->{where} { $conf }\n";
        my $around = $location->{around} // 'INNER';

        $server .= $around =~ s/INNER/$text/r;
        $server .= $text if $around !~ /INNER/;
    }

    my $http = <<"END";
    token_proxy_cache_zone     zone=tokens:16m store=off;
    @{[ $self->{store} ? "token_proxy_cache_store $self->{store};"
        . ' token_proxy_cache_zone zone=stored:16m;' : '' ]}
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_max_response_size  1m;
    token_proxy_retry_backoff  1ms 1ms;
    $parameters

    limit_req_zone   \$k zone=requests:4m rate=20r/s;
    limit_conn_zone  \$k zone=connections:4m;
    map_hash_bucket_size 128;

    map \$request_uri \$n { default ''; ~[?&]n=(?<v_n>\\w+) \$v_n; }
    map \$request_uri \$d { default '60'; ~[?&]d=(?<v_d>\\d+) \$v_d; }
    map \$request_uri \$k { default ''; ~[?&]k=(?<v_k>\\w+) \$v_k; }
    map \$request_uri \$size { default ''; ~[?&]size=(?<v_s>\\d+) \$v_s; }
    map \$request_uri \$how { default ''; ~[?&]how=(?<v_h>\\w+) \$v_h; }

    add_header  X-N \$n always;
    add_header  X-Cache \$token_proxy_cache_status always;

    lingering_timeout      @{[ $self->{linger} // '1s' ]};
    lingering_time         60s;
    client_header_timeout  3s;
    client_body_timeout    2s;
    send_timeout           @{[ $self->{send_timeout} // '2s' ]};
    keepalive_timeout      10s;
    client_max_body_size   4m;
    proxy_read_timeout     @{[ $self->{read_timeout} // "4s" ]};
    @{[ $self->{http} // '' ]}

    server {
        $h2
        client_header_timeout 15s; client_body_timeout 15s;
        add_header X-Inner yes;
        location / {
            proxy_pass $backend;
            proxy_set_header Authorization \$http_authorization;
        }
    }
END

    $server .= <<"END";
    location \@page { return 200 "page \$n"; }
    location = /post { internal; return 200; }
    location = /mirrored { internal; token_proxy on; token_proxy_endpoint \@TOKEN\@; }
    location = /mirrored_api { internal; token_proxy_bearer /big;
        proxy_pass $backend/mirror?n=\$n&size=100; }
    location = /internal { internal; token_proxy on; token_proxy_endpoint \@TOKEN\@; }
    location = /internal_miss { internal; token_proxy on;
        token_proxy_endpoint \@TOKEN\@; token_proxy_cache tokens; }
    location = /big { token_proxy on; token_proxy_endpoint \@TOKEN\@;
        token_proxy_param n \$n; token_proxy_param d \$d; token_proxy_param size 120000; }
    location = /authz { internal; proxy_pass $backend/authz?ad=40;
        proxy_pass_request_body off; proxy_set_header Content-Length ""; }
    location = /stub { stub_status; }
END

    my %put = (
        TOKEN => "$backend/token", API => $backend, BACKEND => $backend,
        H2 => $self->{h2_port}, FASTCGI => $self->{backend}->fastcgi_port,
    );

    s/\@([A-Z][A-Z0-9]+)\@/$put{$1} \/\/ "\@$1\@"/ge for $server, $http;

    return (http => $http, server => $server, log_level => $self->{log_level} // 'info',
        connections => 4096, main => "worker_rlimit_nofile 16384;\n"
        . ($self->{main} // ''));
}


sub prepare {
    my ($self, $nginx) = @_;

    spew($nginx->dir . '/html/set.html', '<!--#include virtual="/plain" set="t" -->'
        . '<!--#echo var="t" encoding="none" --> end');
    spew($nginx->dir . '/conf/fastcgi', map { "fastcgi_param $_;\n" }
        'REQUEST_METHOD $request_method', 'REQUEST_URI $request_uri',
        'CONTENT_LENGTH $content_length');
    return;
}


# What is in the cache before all else.
sub prime {
    my ($self, $nginx) = @_;

    $nginx->get($_, Connection => 'close') for qw(/hit /backoff /renew /copied),
        $self->{store} ? '/stored_hit' : ();
    return;
}


# What a caller may get. An answer is a hash: "status"; "check", a function of
# the answer that says what is wrong with it; "last", 1 if the connection is to
# end with it, 0 if it must go on, "said" if that depends on what the answer
# says, undef if both are right. "none" is an end without an answer.

my $NONE = { none => 1 };
my %CLOSES = map { $_ => 1 } 400, 413, 414, 500, 501;
my %GOES_ON = map { $_ => 1 } 200, 204, 401, 403, 404, 405, 502, 503, 504;


sub right {
    my ($location, $request) = @_;
    my $last = $request->{close} || $location->{once} ? 1
        : $location->{gives_up} && defined $request->{content} ? 'said'
        : $request->{version} eq '1.0' && ($location->{kind} eq 'page'
            || $location->{no_length}) ? 'said' : 0;
    my $body = $request->{body_is} // 'whole';
    my @right;

    return answer($request->{bad}, 1) if $request->{bad};
    return answer(405, 1) if $request->{method} eq 'TRACE';
    return answer(413, 1) if $location->{max} && !$request->{chunked}
        && ($request->{length} // 0) > $location->{max};

    my $status = $location->{methods}{ $request->{method} };

    # a location that refuses the method does not read a body
    my $reads = $status ? 0 : reads($location, $request);

    if ($reads && $body eq 'unfinished') {
        return $NONE;

    } elsif ($reads && $body eq 'invalid') {
        return $location->{streams} ? (answer(400, 1), $NONE) : answer(400, 1);

    } elsif ($reads && $location->{max} && ($request->{length} // 0) > $location->{max}) {
        return (answer(413, 1), $location->{streams} ? $NONE : ());
    }

    @right = $status ? answer($status, $last) : owed($location, $request, $last);
    return ((map { { %$_, last => undef } } @right), answer(400, 1))
        if $body eq 'invalid';

    return @right;
}


sub answer {
    my ($status, $last, $check) = @_;

    return { status => $status, last => $last, check => $check };
}


sub reads {
    my ($location, $request) = @_;

    return $location->{kind} eq 'refresh'
        ? $request->{form} && $request->{method} eq 'POST' && !$request->{chunked}
            && $request->{length} <= 8192
        : $location->{reads};
}


sub owed {
    my ($location, $request, $last) = @_;
    my ($kind, $method, $n) = ($location->{kind}, @$request{qw(method n)});

    if ($kind eq 'status') {
        return answer(200, $last, sub {
            $_[0]{body} =~ /^\{.*\}\s*$/s || $method eq 'HEAD' ? '' : 'it is no JSON' });
    }

    return owed_page(@_) if $kind eq 'page';
    return owed_api(@_) if $kind eq 'api' && !$location->{drops};
    return answer($location->{status}, $last, says($location, $request))
        if $kind eq 'fixed' && ($location->{path} =~ m{^/api} || $location->{first}
            || $location->{status} == 401 && $method ne 'OPTIONS');

    # a token location, whatever it is to answer
    return answer(204, $last) if $method eq 'OPTIONS';
    return answer(405, $last) if $method !~ /^(?:GET|HEAD|POST)$/;
    return owed_api(@_) if $kind eq 'api';
    return answer($location->{status}, $last, says($location, $request))
        if $kind eq 'fixed';

    if ($kind eq 'refresh' && $request->{form} && $method eq 'POST') {
        return answer(411, undef) if $request->{chunked};
        return answer(413, undef) if $request->{length} > 8192;
        return answer(400, $last, sub { $_[0]{body} =~ /"error":"invalid_grant"/ ? ''
            : 'it is no invalid_grant' }) if $location->{dead};
    }

    return answer(200, $last, sub {
        return '' if $method eq 'HEAD';
        return "the token is not that of $n: $_[0]{body}"
            if $_[0]{body} !~ token_of($location->{whose}, $request);
        return '';
    });
}


sub says {
    my ($location, $request) = @_;
    my $n = $request->{n};

    return sub {
        return '' if $request->{method} eq 'HEAD';
        return $_[0]{body} eq "page $n" ? '' : "it is not the page: $_[0]{body}"
            if $location->{text};
        return $_[0]{body} =~ /^\{"error":|Authorization Required/ ? ''
            : "it is no error: $_[0]{body}";
    };
}


# The answer of a token location, as a pattern.
sub token_of {
    my ($whose, $request) = @_;
    my $n = $whose eq 'own' ? $request->{n} : $whose eq 'k' ? $request->{k} : $whose;

    return qr/\{"access_token":"AT-$n-\d+x*","refresh_token":"RT-$n"\}/;
}


sub owed_page {
    my ($location, $request, $last) = @_;
    my $n = $request->{n};
    my $pattern = join '', map { token_of($_, $request) } @{ $location->{before} };

    $pattern .= "page $n:" if $location->{text};
    $pattern .= join '', map { '\[' . token_of($_, $request) . '\]' }
        @{ $location->{inside} };
    $pattern .= ' end' . join '', map { token_of($_, $request) } @{ $location->{after} };

    return answer(200, $last, sub {
        return '' if $request->{method} eq 'HEAD';
        return $_[0]{body} =~ /^$pattern$/ ? ''
            : "it is not the page of $n: " . $_[0]{body} =~ s/x{20,}/x.../gr;
    });
}


sub owed_api {
    my ($location, $request, $last) = @_;
    my $n = $request->{n};
    my $content = $location->{drops} ? '' : $request->{content} // '';
    my $again = $location->{retries} && (length $content
        || $request->{method} !~ /^(?:GET|HEAD|OPTIONS)$/);

    # its first request of this n is refused
    return (answer(401, $last), $location->{not_again} ? answer(200, $last) : ())
        if $again;

    return answer(200, $last, sub {
        return '' if $request->{method} eq 'HEAD';

        my %got = map { /^(\w+)=(.*)/ ? ($1 => $2) : () } split /\n/, $_[0]{body};
        my $whose = $location->{whose} // '';
        my $token = $whose eq 'own' ? $n : $whose eq 'k' ? $request->{k} : $whose;

        return "the API was asked with $got{method}"
            if $got{method} ne $request->{method};
        return "the API was asked for $got{n}" if $got{n} ne $n;
        return "the API got $got{length} bytes of " . length $content
            if $got{length} != length $content;
        return 'the API got another body' if $got{md5} ne md5_hex $content;
        return "the API got the header \"$got{auth}\""
            if $whose && $got{auth} !~ /^Bearer AT-$token-\d+x*$/;
        return '';
    }), $location->{not_again} ? answer(401, $last) : ();
}

1;
