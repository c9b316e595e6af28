package Token::Cert;

# Certificates for tests, made with openssl.
#
#     my $ca = Token::Cert->authority($dir, 'ca');
#     my $cert = $ca->issue('server', 'localhost', 'token.example');
#     $ca->file; $cert->file; $cert->key;      # PEM files in $dir

use strict;
use warnings;

use Token::Util qw(spew);


sub authority {
    my ($class, $dir, $name) = @_;
    my $self = bless { path => "$dir/$name", dir => $dir }, $class;

    openssl('req', '-x509', new_key($self->{path}), '-subj', "/CN=$name",
        '-days', 2, '-out', $self->file);
    return $self;
}


sub issue {
    my ($self, $name, @hosts) = @_;
    my $path = "$self->{dir}/$name";
    my $names = join ',', map { "DNS:$_" } @hosts;

    openssl('req', '-new', new_key($path), '-subj', "/CN=$name",
        '-out', "$path.csr");

    spew("$path.ext", "subjectAltName=$names\n");
    openssl('x509', '-req', '-in', "$path.csr", '-extfile', "$path.ext",
        '-CA', $self->file, '-CAkey', $self->key, '-CAcreateserial',
        '-days', 2, '-out', "$path.crt");

    return bless { path => $path, dir => $self->{dir} }, ref $self;
}


sub file { "$_[0]{path}.crt" }
sub key { "$_[0]{path}.key" }


# The arguments that make a new key beside the certificate.
sub new_key {
    my ($path) = @_;

    return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
        '-nodes', '-keyout', "$path.key");
}


sub openssl {
    my $command = join ' ', 'openssl', map { "'$_'" } @_;
    my $output = `$command 2>&1`;

    die "$command: $output\n" if $?;
}

1;
