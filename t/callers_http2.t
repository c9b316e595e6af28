# Callers who speak HTTP/2, of every shape, before every kind of location: each
# gets the answer of its own request, and leaves nothing behind.
#
# A cell is a shape, a location and a way to ask: with an endpoint that answers
# at once or late, and over TLS. All cells of a shape run side by side. Each has
# a connection of its own; where that lives on, a second request on it, the
# witness, has to be answered as well.
#
# What is nginx's own is not asked for: trailers of a request (it closes the
# connection); a body that is late for an SSI page which is a file, with two
# subrequests; a grpc_pass that answers before the body is complete (it is
# relayed to a server that reads all of it); a post_action that passes on a body
# which was thrown away (it waits for it); an empty :method.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Token::Cert;
use Token::Echo;
use Token::Http2;
use Token::Server;
use Token::Util qw($NGINX free_port nginx_since settled spew wait_for work_dir);

plan(skip_all => 'nginx has no HTTP/2')
    if `$NGINX -V 2>&1` !~ /--with-http_v2_module/;

my $SLOW = 0.25;        # the endpoint's delay
my $DURING = 0.1;       # a time at which it has not answered
my $LIMIT = $ENV{CALLERS_PATIENCE} // 5;   # seconds; later is no answer

# Sanitizers make an nginx several times slower.
$LIMIT *= 6 if `$NGINX -V 2>&1` =~ /-fsanitize/;

my $echo = Token::Echo->new;
my ($port, $tls_port, $grpc_port) = map { free_port() } 1 .. 3;
my $cert = Token::Cert->authority(work_dir(), 'localhost');
my $new = nginx_since('1.25.1');
my ($h2, $on) = $new ? ('', 'http2 on;') : (' http2', '');
my $token = 'token_proxy on; token_proxy_endpoint ' . $echo->url('/token')
    . '?delay=$delay;';
my $api = 'proxy_pass ' . $echo->url('') . ';';

my $nginx = Token::Server->new(
    workers => 2, log_level => 'info', connections => 2048,
    http => <<"END",
    access_log  off;
    token_proxy_cache_zone     zone=tokens:4m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_param          scope \$k;
    limit_req_zone  \$server_name zone=limited:1m rate=50r/s;

    # Also where a subrequest asks.
    map \$request_uri \$k { ~[?&]k=([\\w.]+) \$1; }
    map \$request_uri \$delay { ~[?&]delay=([\\d.]+) \$1; }

    server {
        listen  127.0.0.1:$grpc_port$h2;
        $on
        location / { $api }
    }

    server {
        listen  127.0.0.1:$port$h2;
        listen  127.0.0.1:$tls_port ssl$h2;
        $on
        ssl_certificate      @{[$cert->file]};
        ssl_certificate_key  @{[$cert->key]};
        root                 \@DIR\@/html;

        location = /uncached { $token }
        location = /hit { $token token_proxy_cache tokens; }
        location = /miss { $token token_proxy_cache tokens; }

        location = /renewed {
            $token
            token_proxy_cache           tokens;
            token_proxy_refresh_before  3600s;
        }

        location = /failed { $token }
        location = /backoff { $token token_proxy_cache tokens; }
        location = /refresh { $token token_proxy_refresh_grant on; }
        location = /status { token_proxy_status; }
        location = /ignore { $token proxy_ignore_client_abort on; }
        location = /limited { $token limit_req zone=limited burst=200; }
        location = /after { $token post_action /later; }
        location = /waited { $token token_proxy_cache tokens; post_action /later; }
        location = /waited_api { token_proxy_bearer /miss; post_action /later; $api }
        location = /named { try_files /none \@token; }
        location \@token { $token }

        location = /error_page { $token error_page 502 = /fallback; }
        location = /fallback { $api }
        location = /error_named { $token error_page 502 = \@fallback; }
        location \@fallback { $api }

        # It goes on when the token has been fetched. nginx waits for the body
        # of a caller who has left.
        location = /later {
            client_body_timeout      1s;
            proxy_pass  @{[$echo->url('/api?delay=')]}@{[2 * $SLOW]};
            proxy_pass_request_body  off;
            proxy_set_header         Content-Length "";
        }

        location = /satisfy {
            satisfy       any;
            deny          all;
            auth_request  /ok;
            $token
        }

        location = /asked { auth_request /ok; $token }
        location = /auth { auth_request /uncached; $api }
        location = /mirror { mirror /uncached; $api }
        location = /mirror_bearer { mirror /bearer; $api }
        location = /page { ssi on; $api }
        location = /page.html { ssi on; }

        location = /api { $api }

        location = /ok {
            $api
            proxy_pass_request_body  off;
            proxy_set_header         Content-Length "";
        }

        location = /bearer { token_proxy_bearer /miss; $api }
        location = /refuse { token_proxy_bearer /miss; $api }
        location = /uncached_bearer { token_proxy_bearer /uncached; $api }

        location = /grpc {
            token_proxy_bearer  /miss;
            grpc_pass           grpc://127.0.0.1:$grpc_port;
        }
    }
END
    server => 'location = /connections { stub_status; }');

spew($nginx->dir . '/html/page.html',
    map { qq(<!--#include virtual="$_" -->) } '/uncached', '/miss');

# What is right. Each gets the cell and the stream, whose status and body they
# say: {k, method, path, uri, sent => bytes of the body}.

sub token_answer {
    my ($n) = @_;
    $n //= '1';

    return sub {
        my ($cell) = @_;
        return (200, qr/^\{"access_token":"AT-\Q$cell->{k}\E\.($n)","refresh_token":"RT-\Q$cell->{k}\E\.\1"\}$/);
    };
}

sub api_answer {
    my ($authorization, %how) = @_;

    return sub {
        my ($cell) = @_;
        my $method = $how{get} && $cell->{method} ne 'HEAD' ? 'GET'
            : $cell->{method};
        my $sent = $how{no_body} ? 0 : $cell->{sent};
        my $uri = $how{uri} // $cell->{uri};
        my $header = $authorization =~ s/K/$cell->{k}/r;

        return (200, qr/^\Q$method $uri $header body=$sent\E$/);
    };
}

sub error_answer {
    my ($status, $error) = @_;

    return sub { return ($status, qr/^\{"error":"$error","error_description":"[^"]+"\}$/) };
}

sub page_answer {
    my ($cell) = @_;

    return (405, qr/^/) if $cell->{location}{file} && $cell->{method} eq 'POST';

    my @tokens = map { qr/\{"access_token":"AT-\Q$cell->{k}\E\.\d","refresh_token":"RT-\Q$cell->{k}\E\.\d"\}/ } 1, 2;

    return (200, qr/^$tokens[0]\|?$tokens[1]$/);
}

# A refused token is taken back, and a request without a body repeated.
sub refused_answer {
    my ($cell) = @_;
    my $repeated = $cell->{method} ne 'POST' && !$cell->{sent};
    my ($status, $n) = $repeated ? (200, 2) : (401, 1);

    return ($status, qr/^\Q$cell->{method} $cell->{uri} Bearer AT-$cell->{k}.$n body=$cell->{sent}\E$/);
}

sub status_answer {
    my ($cell) = @_;

    return $cell->{method} eq 'POST' ? (405, qr/^/)
        : (200, qr/^\{.*"hits":\d+.*\}\s*$/s);
}

# reads: it answers when the body is complete, and not before. k: a K for all.
# leader, beside: another asks for the same token before, on a connection of its
# own or on the same. form: a POST sends a refresh token. file: a file, which is
# not for POST.
my @LOCATIONS = (
    { path => '/uncached', answer => token_answer() },
    { path => '/hit', k => 'hit', answer => token_answer('[12]') },
    { path => '/miss', answer => token_answer() },
    { path => '/miss', name => 'wait', leader => 1, answer => token_answer() },
    { path => '/miss', name => 'wait on the connection', beside => 1,
        answer => token_answer() },
    { path => '/renewed', k => 'renewed', answer => token_answer('\d+') },
    { path => '/failed', k => 'fail', answer => error_answer(502, 'server_error') },
    { path => '/backoff', k => 'fail.backoff',
        answer => error_answer('50[23]', '(?:server_error|temporarily_unavailable)') },
    { path => '/refresh', form => 1, reads => 1, answer => token_answer() },
    { path => '/status', answer => \&status_answer },
    { path => '/ignore', answer => token_answer() },
    { path => '/limited', answer => token_answer() },
    { path => '/after', answer => token_answer() },
    { path => '/waited', answer => token_answer() },
    { path => '/waited_api', reads => 1, answer => api_answer('Bearer AT-K.1') },
    { path => '/named', answer => token_answer() },
    { path => '/error_page', k => 'fail', answer => api_answer('-', uri => '/fallback', get => 1, no_body => 1) },
    { path => '/error_named', k => 'fail', answer => api_answer('-', no_body => 1) },
    { path => '/satisfy', answer => token_answer() },
    { path => '/asked', answer => token_answer() },
    { path => '/auth', reads => 1, answer => api_answer('-') },
    { path => '/mirror', reads => 1, answer => api_answer('-') },
    { path => '/mirror_bearer', reads => 1, answer => api_answer('-') },
    { path => '/page', reads => 1, answer => \&page_answer },
    { path => '/page.html', file => 1, answer => \&page_answer },
    { path => '/bearer', reads => 1, answer => api_answer('Bearer AT-K.1') },
    { path => '/uncached_bearer', reads => 1, answer => api_answer('Bearer AT-K.1') },
    { path => '/refuse', name => 'retry', reads => 1, answer => \&refused_answer },
    { path => '/grpc', reads => 1, answer => api_answer('Bearer AT-K.1') },
);

# What a caller does: how it asks, then steps, each after some seconds or when a
# condition holds. "post" and "body" are "whole", with the headers, or "open", for
# the steps; "length" is a Content-Length, 1 the right one. What is expected:
#
#     answer  the stream's answer
#     early   the same, before the body where the location does not need that
#     never   the same; none where the location needs the body
#     wrong   400, or the answer where the location does not read the body
#     any     an answer, or an end
#     left    nothing: the caller has left the stream
#     end     that nginx closes the connection
#     gone    nothing: the caller has left the connection
my @SHAPES = (
    ['GET', 'answer', {}],
    ['HEAD', 'answer', { method => 'HEAD' }],
    ['GET with a body', 'answer', { body => 'whole' }],
    ['GET, body late', 'answer', { body => 'open' },
        $DURING => \&finish],
    ['POST without a body', 'answer', { method => 'POST' }],
    ['POST', 'answer', { post => 'whole', length => 1 }],
    ['POST without a length', 'answer', { post => 'whole' }],
    ['POST with 8000 bytes', 'answer', { post => 'whole', length => 1, size => 8000 }],
    ['POST with 60000 bytes, late', 'answer', { post => 'open', length => 1, size => 60000 },
        $DURING => \&finish],
    ['GET, headers in frames of a byte', 'answer', { cut => 1 }],
    ['GET, padded, with a priority', 'answer', { padding => 200, priority => [1, 0, 200] },
        0 => sub { $_[0]{client}->priority($_[0]{id}, 0, 0, 5) }],
    ['GET, a byte in a packet', 'answer', { slice => 1 }],
    ['POST, 7 bytes in a packet', 'answer', { post => 'whole', length => 1, slice => 7 }],
    ['body in the next packet', 'answer', { post => 'open', length => 1 },
        0 => \&finish],
    ['body late', 'answer', { post => 'open', length => 1 },
        $DURING => \&finish],
    ['body late, no length', 'answer', { post => 'open' },
        $DURING => \&finish],
    ['body late, Expect', 'answer', { post => 'open', length => 1, headers => [expect => '100-continue'] },
        $DURING => \&finish],
    ['body after the answer', 'early', { post => 'open', length => 1 },
        \&answered => sub { $_[0]{early} = 1 if $_[0]{client}->stream($_[0]{id})->{status}; finish($_[0]) }],
    ['body trickled and padded', 'answer', { post => 'open', length => 1 },
        (map { (0.03 => sub { piece($_[0], 1) }) } 1 .. 2), 0.03 => \&finish],
    ['END_STREAM late and empty', 'answer', { post => 'open' },
        0 => sub { finish($_[0], end => 0) },
        $DURING => sub { $_[0]{client}->data($_[0]{id}, '', end => 1) }],
    ['body never', 'never', { post => 'open', length => 1 }],
    ['half a body, and no more', 'never', { post => 'open', length => 1 },
        0 => sub { piece($_[0], 2) }],
    ['body longer than its length', 'wrong', { post => 'open', length => 2 },
        $DURING => \&finish],
    ['body shorter than its length', 'wrong', { post => 'open', length => 500 },
        $DURING => \&finish],
    ['trailers', 'any', { post => 'open', length => 1 },
        0 => sub { finish($_[0], end => 0); $_[0]{client}->trailers($_[0]{id}, ['x-a' => 'b']) }],
    ['RST_STREAM at once', 'left', {}, 0 => \&leave],
    ['RST_STREAM in the same packet', 'left', { at_once => \&leave }],
    ['RST_STREAM before the body', 'left', { post => 'open', length => 1 }, 0 => \&leave],
    ['RST_STREAM while fetching', 'left', {}, $DURING => \&leave],
    ['RST_STREAM while fetching, half a body', 'left', { post => 'open', length => 1 },
        0 => sub { piece($_[0], 2) }, $DURING => \&leave],
    ['RST_STREAM while the answer is sent', 'left', { window => 0 },
        \&answering => sub { leave($_[0]); $_[0]{client}->settings([4 => 65535]) }],
    ['RST_STREAM while the answer is sent, half a body', 'left', { window => 0, post => 'open', length => 1 },
        0 => sub { piece($_[0], 2) },
        \&answering => sub { leave($_[0]); $_[0]{client}->settings([4 => 65535]) }],
    ['window opened by SETTINGS', 'answer', { window => 0 },
        \&answering => sub { $_[0]{client}->settings([4 => 65535]) }],
    ['window opened late by bytes', 'answer', { window => 0, manual => 1 },
        \&answering => sub { $_[0]{client}->window($_[0]{id}, 1) },
        (map { (0.01 => sub { $_[0]{client}->window($_[0]{id}, 20) }) } 1 .. 10),
        0 => sub { $_[0]{client}->settings([4 => 65535]) }],
    ['window never opened, FIN', 'end', { window => 0 },
        \&answering => sub { $_[0]{client}->shutdown }],
    ['window never opened, RST', 'gone', { window => 0 },
        \&answering => sub { $_[0]{client}->abort }],
    ['FIN at once', 'end', {}, 0 => sub { $_[0]{client}->shutdown }],
    ['FIN while fetching', 'end', {}, $DURING => sub { $_[0]{client}->shutdown }],
    ['FIN while fetching, half a body', 'end', { post => 'open', length => 1 },
        0 => sub { piece($_[0], 2) }, $DURING => sub { $_[0]{client}->shutdown }],
    ['closed while fetching', 'gone', {}, $DURING => sub { $_[0]{client}->close }],
    ['RST at once', 'gone', {}, 0 => sub { $_[0]{client}->abort }],
    ['RST while fetching', 'gone', {}, $DURING => sub { $_[0]{client}->abort }],
    ['RST while fetching, half a body', 'gone', { post => 'open', length => 1 },
        0 => sub { piece($_[0], 2) }, $DURING => sub { $_[0]{client}->abort }],
    ['GOAWAY at once', 'answer', { at_once => sub { $_[0]{client}->goaway } }],
    ['GOAWAY while fetching, then the body', 'answer', { post => 'open', length => 1 },
        $DURING => sub { $_[0]{client}->goaway; finish($_[0]) }],
    ['200 PINGs', 'answer', { at_once => \&pings }, $DURING => \&pings],
);

# A cell: the request is made, and step() takes it further.

sub start {
    my ($location, $shape, $way, $number) = @_;
    my ($name, $expect, $how, @steps) = @$shape;
    my $k = $location->{k} // "k$number";
    my $cell = {
        name => join(', ', $name, $location->{name} // $location->{path},
            $way ? $way : ()),
        k => $k, location => $location, expect => $expect, steps => \@steps,
        method => $how->{method} // ($how->{post} ? 'POST' : 'GET'),
        uri => "$location->{path}?k=$k&delay=" . ($way eq 'late' ? $SLOW : 0),
        shape => $shape, since => time,
    };
    my $kind = $how->{body} // $how->{post} // '';
    my $form = $location->{form} && $how->{post};

    $cell->{body} = !$kind ? '' : $form
        ? "grant_type=refresh_token&refresh_token=$k" : 'a=b';
    $cell->{body} .= '&x=' . 'x' x $how->{size} if $how->{size};
    $cell->{sent} = length $cell->{body};

    my @headers = @{ $how->{headers} // [] };
    my $length = $how->{length} // 0;

    # It wants to know how long a body is, and takes 8192 bytes.
    $cell->{answer} = !$form ? $location->{answer}
        : !$length ? error_answer(411, 'invalid_request')
        : $cell->{sent} > 8192 ? error_answer(413, 'invalid_request')
        : $location->{answer};

    push @headers, 'content-type' => 'application/x-www-form-urlencoded'
        if $form;
    push @headers, 'content-length' => $length == 1 ? $cell->{sent} : $length
        if $length;

    my %options = map { $_ => $how->{$_} } grep { defined $how->{$_} }
        qw(slice window manual cut padding priority);
    my $client = $cell->{client} = Token::Http2->connect(%options,
        $way eq 'TLS' ? (port => $tls_port, tls => 1) : (port => $port));

    # Others who have asked for the same token.
    if ($location->{leader}) {
        my $leader = Token::Http2->connect(port => $port);

        $cell->{others} = [[$leader, $leader->request($cell->{uri})]];
        $leader->step;
    }

    if ($location->{beside}) {
        $cell->{others} = [[$client, $client->request($cell->{uri})]];
    }

    $cell->{id} = $client->request($cell->{uri}, %options,
        method => $cell->{method}, headers => \@headers,
        $kind eq 'open' ? (open => 1)
            : $kind eq 'whole' ? (body => $cell->{body}) : ());
    $how->{at_once}->($cell) if $how->{at_once};
    return $cell;
}


# The rest of the body, and END_STREAM unless it is to come.
sub finish {
    my ($cell, %how) = @_;

    return if $cell->{whole};
    $cell->{client}->data($cell->{id}, $cell->{body}, end => 1, %how);
    return;
}


sub piece {
    my ($cell, $size) = @_;

    $cell->{client}->data($cell->{id}, substr($cell->{body}, 0, $size, ''),
        padding => 5);
    return;
}


sub leave { $_[0]{client}->reset($_[0]{id}) }

sub pings { $_[0]{client}->ping for 1 .. 200 }


# The headers of the answer are there, or will not be.
sub answering {
    my ($cell) = @_;
    my $stream = $cell->{client}->stream($cell->{id});

    return $stream->{status} || $cell->{client}{over}
        || time - $cell->{since} > $LIMIT;
}


# The same, where a location answers without the body.
sub answered {
    my ($cell) = @_;

    return answering($cell) || $cell->{location}{reads}
        && time - $cell->{since} > 2 * $SLOW;
}


# Whether it has come to its end; then "wrong" says what was wrong, if anything.
sub step {
    my ($cell) = @_;

    $_->step for clients($cell);

    # The request is still on its way.
    my $unsent = $cell->{client}{over} ? 0 : length $cell->{client}{out};

    $cell->{since} = time if $unsent != ($cell->{unsent} // 0);
    $cell->{unsent} = $unsent;

    while (my ($when, $do) = @{ $cell->{steps} }) {
        last if ref $when ? !$when->($cell) : time - $cell->{since} < $when;
        splice @{ $cell->{steps} }, 0, 2;
        $do->($cell) if !$cell->{client}{over};
        $cell->{client}->step;
        $cell->{since} = time;
    }

    return 0 if @{ $cell->{steps} };

    if (!$cell->{judged}) {
        my $wrong = judge($cell);

        return 0 if !defined $wrong;
        $cell->{judged} = 1;
        $cell->{since} = time;
        return wrong($cell, $wrong) if $wrong || $cell->{expect} eq 'any';
    }

    my ($client, $over) = ($cell->{client}, $cell->{client}{over});

    $cell->{witness} //= $client->request("/hit?k=hit&delay=0") if !$over;
    $client->step;

    my @asked = grep { !$_->[0]{over} } @{ $cell->{others} // [] };

    push @asked, [$client, $cell->{witness}] if $cell->{witness};

    for my $asked (@asked) {
        my ($from, $id) = @$asked;
        my $stream = $from->stream($id);

        if (!$stream->{ended} && !defined $stream->{reset} && !$from->{over}
            && time - $cell->{since} < $LIMIT)
        {
            return 0;
        }

        my ($answer, $what) = $id == ($cell->{witness} // 0)
            ? (token_answer('[12]'), 'the request after it')
            : ($cell->{location}{answer}, 'the request before it');
        my $wrong = compare($answer, { %$cell, method => 'GET', sent => 0,
            $what =~ /after/ ? (k => 'hit') : () }, $stream);

        return wrong($cell, "$what: $wrong") if $wrong;
    }

    return wrong($cell, '');
}


sub clients {
    my ($cell) = @_;

    return ($cell->{client}, map { $_->[0] } @{ $cell->{others} // [] });
}


sub wrong {
    my ($cell, $text) = @_;
    my ($fault) = grep { defined } map { $_->{fault} } clients($cell);

    $cell->{wrong} = $text || $fault && "nginx sent $fault" || '';
    $_->close for clients($cell);
    return 1;
}


# What is wrong with it, '' if nothing, undef if that cannot be said yet.
sub judge {
    my ($cell) = @_;
    my ($client, $expect) = @$cell{qw(client expect)};
    my ($over, $stream) = ($client->{over}, $client->stream($cell->{id}));
    my $passed = time - $cell->{since};

    return '' if $expect eq 'left' || $expect eq 'gone';

    if ($expect eq 'end') {
        return $over ? '' : $passed < $LIMIT ? undef : 'it is not closed';
    }

    # A location that needs the body gives no answer.
    if ($expect eq 'never' && $cell->{location}{reads}) {
        return "status $stream->{status}" if $stream->{status};
        return "it is closed: $over" if $over;
        return undef if $passed < 2 * $SLOW;
        $client->reset($cell->{id});
        return '';
    }

    my $done = $over || $stream->{ended} || defined $stream->{reset};

    return $passed < $LIMIT ? undef : 'no answer' if !$done;
    return '' if $expect eq 'any';

    if ($expect eq 'wrong') {
        return '' if ($stream->{status} // 0) == 400;
        return "status $stream->{status}" if $cell->{location}{reads};
    }

    return 'no answer before the body'
        if $expect eq 'early' && !$cell->{location}{reads} && !$cell->{early};
    return compare($cell->{answer}, $cell, $stream);
}


sub compare {
    my ($answer, $cell, $stream) = @_;
    my ($status, $body) = $answer->($cell);

    return defined $stream->{reset} ? "RST_STREAM $stream->{reset}"
        : $cell->{client}{over} ? "it is closed: $cell->{client}{over}"
        : 'no answer' if !$stream->{ended};
    return "status $stream->{status}" if $stream->{status} !~ /^(?:$status)$/;

    $body = qr/^$/ if $cell->{method} eq 'HEAD';
    return $stream->{body} =~ $body ? ''
        : 'the answer is ' . substr $stream->{body}, 0, 200;
}


# All of them side by side. A cell is looked at when there is something to read
# or to write, and 50 times in a second for what it does at a time of its own.
sub play {
    my (@cells) = @_;
    my ($read, $write, $looked) = ('', '', 0);

    while (@cells) {
        my $all = time - $looked > 0.02;
        my @left;

        $looked = time if $all;

        for my $cell (@cells) {
            my @clients = grep { !$_->{over} } clients($cell);
            my $ready = $all || grep { vec($read, fileno $_->socket, 1)
                || vec($write, fileno $_->socket, 1) } @clients;

            push @left, $cell if !$ready || !step($cell);
        }

        @cells = @left;
        ($read, $write) = ('', '');

        for my $client (grep { !$_->{over} } map { clients($_) } @cells) {
            vec($read, fileno $client->socket, 1) = 1;
            vec($write, fileno $client->socket, 1) = 1 if $client->wants_write;
        }

        select $read, $write, undef, 0.02 if @cells;
    }

    return;
}


sub connections {
    my ($active) = $nginx->get('/connections', Connection => 'close')->{content}
        =~ /Active connections: (\d+)/;
    return $active;
}


sub sockets {
    return scalar grep { (readlink // '') =~ /^socket:/ }
        map { glob "/proc/$_/fd/*" } $nginx->workers;
}


$nginx->start;
connections();

# The tokens that are there before all.
{
    my $client = Token::Http2->connect(port => $port);

    $client->request("/hit?k=hit&delay=$_") for 0, $SLOW;
    ok(Token::Http2::run($LIMIT, sub { !$client->open_streams }, $client),
        'tokens are fetched');
    $client->close;
    wait_for { connections() == 1 } $LIMIT;
}

my @workers = $nginx->workers;
my @ways = ('', 'late', Token::Http2->has_tls ? 'TLS' : ());
my $before = settled { sockets() };
my ($number, $count) = (0, 0);

# For one who looks for a fault: what they match, and nothing else, is played.
my ($only, $where) = @ENV{qw(TEST_SHAPE TEST_LOCATION)};
my @shapes = grep { $_->[0] =~ ($only // '.') } @SHAPES;
my @locations = grep { $_->{path} =~ ($where // '.') } @LOCATIONS;

while (my @together = splice @shapes, 0, 4) {
    my @cells;

    for my $shape (@together) {
        for my $location (@locations) {
            push @cells, map { start($location, $shape, $_, ++$number) } @ways;
        }
    }

    play(@cells);
    $count += @cells;

    for my $shape (@together) {
        my @wrong = grep { $_->{shape} == $shape && $_->{wrong} } @cells;

        is(scalar(@wrong), 0, "$shape->[0]: right before every location")
            or diag(map { "$_->{name}: $_->{wrong}\n" } @wrong);
    }

    ok((wait_for { connections() == 1 } $LIMIT), '... and no connection is left');
    is_deeply([$nginx->workers], \@workers, '... and no worker has died');
}


# Many streams on a connection, mixed over the locations: how each is asked for,
# and what happens while tokens are fetched; then all that were not left are
# answered.
my @MANY = (
    ['100 streams'],
    ['100 streams that depend on each other', { tree => 1 }],
    ['100 streams with bodies', { body => 'whole' }],
    ['100 streams, bodies late and in another order', { body => 'open' },
        sub { finish($_) for reverse @{ $_[0]{cells} } }],
    ['100 streams, a third reset', {}, \&leave_some],
    ['100 streams, a third reset before its body', { body => 'open' },
        sub { &leave_some; finish($_) for @{ $_[0]{cells} } }],
    ['100 streams, window opened late', { window => 0 },
        sub { $_[0]{client}->settings([4 => 65535]) }],
    ['100 streams, a window for all opened late', { settings => [4 => 65535], manual => 1 },
        sub { $_[0]{client}->window(0, 100000) }],
    ['100 streams, GOAWAY', {}, sub { $_[0]{client}->goaway }],
    ['100 streams, FIN', {}, sub { $_[0]{cells} = []; $_[0]{client}->shutdown }],
    ['100 streams, RST', { body => 'open' },
        sub { $_[0]{cells} = []; $_[0]{client}->abort }],
);

sub leave_some {
    my ($many) = @_;
    my @cells = @{ $many->{cells} };

    leave($cells[$_]) for grep { $_ % 3 == 1 } 0 .. $#cells;
    $many->{cells} = [@cells[grep { $_ % 3 != 1 } 0 .. $#cells]];
    return;
}


sub start_many {
    my ($shape, $tls) = @_;
    my ($name, $how, $do) = @$shape;
    my %options = %{ $how // {} };
    my $client = Token::Http2->connect(%options,
        $tls ? (port => $tls_port, tls => 1) : (port => $port));
    my $many = { name => $name . ($tls ? ', TLS' : ''), client => $client,
        do => $do };
    my $shared = 'shared' . ++$number;

    for my $n (0 .. 99) {
        my $location = $locations[$n % @locations];
        my $wait = $location->{leader} || $location->{beside};
        my $k = $location->{k} // ($wait ? $shared : 'k' . ++$number);
        my $body = $options{body} && !$location->{form} && !$location->{file}
            ? 'b' x $n : '';
        my $cell = { client => $client, k => $k, body => $body,
            location => $location, method => $body ? 'POST' : 'GET',
            sent => length $body, uri => "$location->{path}?k=$k&delay="
            . ($wait || $n % 2 ? $SLOW : 0) };

        $cell->{id} = $client->request($cell->{uri},
            method => $cell->{method},
            !$body ? () : $options{body} eq 'open' ? (open => 1)
                : (body => $body),
            $options{tree} && $n ? (priority => [$n % 5 == 0,
                1 + 2 * int rand $n, int rand 256]) : ());

        # Only those that wait for their bodies are finished.
        $cell->{whole} = !$body || $options{body} eq 'whole';
        push @{ $many->{cells} }, $cell;
    }

    return $many;
}

@MANY = grep { $_->[0] =~ ($only // '.') } @MANY;

while (my @together = splice @MANY, 0, 4) {
    my @many = map { (start_many($_, 0), Token::Http2->has_tls
        ? start_many($_, 1) : ()) } @together;
    my @clients = map { $_->{client} } @many;

    $count += @{ $_->{cells} } for @many;
    Token::Http2::run($DURING, sub { 0 }, @clients);
    $_->{do} && $_->{do}->($_) for @many;
    Token::Http2::run($LIMIT, sub { !grep { waiting($_) } @many }, @clients);

    for my $many (@many) {
        my $fault = $many->{client}{fault};
        my @wrong = $fault ? "nginx sent $fault" : ();

        for my $cell (@{ $many->{cells} }) {
            my $wrong = compare($cell->{location}{answer}, $cell,
                $cell->{client}->stream($cell->{id}));
            push @wrong, "$cell->{uri}: $wrong" if $wrong;
        }

        is(scalar(@wrong), 0, "$many->{name}: right before every location")
            or diag(map { "$_\n" } @wrong);
        $many->{client}->close;
    }

    ok((wait_for { connections() == 1 } $LIMIT), '... and no connection is left');
    is_deeply([$nginx->workers], \@workers, '... and no worker has died');
}


sub waiting {
    my ($many) = @_;

    return !$many->{client}{over} && grep { !$_->{ended} && !defined $_->{reset} }
        map { $many->{client}->stream($_->{id}) } @{ $many->{cells} };
}

cmp_ok($count, '>', 3000, 'so many requests') if !defined $only && !defined $where;
is((settled { sockets() }), $before, 'no socket is left');
$nginx->stop('QUIT');
is(join("\n", grep { /\[(?:alert|crit|emerg)\]|open socket|exited on signal/ }
    split /\n/, $nginx->error_log), '', 'nothing alarming in the log');
note("$count requests");
done_testing;
